"""Which names the server answers to, and from which pages it takes a write."""

from __future__ import annotations

import itertools

import pytest
from starlette.testclient import TestClient
from tests.web.conftest import BASE, log_in
from tests.web.listening import listening, status

from tunery.errors import ConfigError
from tunery.server.app import create_app
from tunery.server.settings import ServerSettings

EVIL = "http://evil.example"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil", "127.0.0.1.nip.io", "[::1]", "", "127.0.0.2", "0.0.0.0",
        "127.0.0.1@evil.example", "evil.example:7860", "localhost:evil", "2130706433", "127.1",
        "localhost.", "127.0.0.1 evil", "[::ffff:127.0.0.1]", "xn--80ak6aa92e.com", "a" * 300,
    ],
)  # fmt: skip
def test_foreign_names_get_421_or_400(home, host):
    with listening(ServerSettings()) as server:
        assert status(server.ask(server.head("GET /healthz HTTP/1.1", host=host))) in (400, 421)


def test_no_host_two_hosts_and_a_whole_address_are_refused(home):
    with listening(ServerSettings()) as server:
        for request in (
            server.head("GET /healthz HTTP/1.1", host=None),
            server.head("GET /healthz HTTP/1.0", host=None),
            server.head("GET /healthz HTTP/1.1", "Host: 127.0.0.1"),
            server.head("GET /healthz HTTP/1.1", "Host: evil.example"),
            server.head("GET http://evil.example/healthz HTTP/1.1"),
            server.head("GET http://127.0.0.1/healthz HTTP/1.1"),
            server.head("OPTIONS * HTTP/1.1"),
        ):
            assert status(server.ask(request)) in (400, 421), request
        for host in ("127.0.0.1", "localhost:8888", "LOCALHOST", f"127.0.0.1:{server.port}"):
            assert status(server.ask(server.head("GET /healthz HTTP/1.1", host=host))) == 200


def test_the_refusal_names_the_option_that_lets_the_name_in(anonymous):
    answer = anonymous.get("/api/v1/health", headers={"Host": "pod-1.example.net"})
    assert answer.status_code == 421
    assert answer.json()["fix"].endswith("--public-url http://pod-1.example.net")


def test_a_public_url_is_a_name_and_an_origin(home):
    app = create_app(ServerSettings(public_urls=("https://pod-1.example.net",)))
    browser = log_in(TestClient(app, "https://pod-1.example.net"))
    browser.headers["Origin"] = "https://pod-1.example.net"
    assert browser.put("/api/v1/prefs/a", json={"value": 1}).status_code == 200
    # a proxy that rewrites Host: the browser's Origin is still the public one
    inside = {"Host": "127.0.0.1:7860"}
    assert browser.put("/api/v1/prefs/a", json={"value": 1}, headers=inside).status_code == 200
    assert browser.get("/healthz", headers={"Host": "pod-2.example.net"}).status_code == 421


@pytest.mark.parametrize(
    "url", ["pod.example", "ftp://x", "http://", "https://u:p@x", "javascript:1"]
)
def test_a_public_url_is_a_web_address(url):
    with pytest.raises(ConfigError):
        ServerSettings(public_urls=(url,))


def test_a_public_port_answers_to_addresses_in_digits_only(home):
    browser = TestClient(create_app(ServerSettings(host="0.0.0.0")), BASE)
    names = {"203.0.113.7": 200, "[2001:db8::1]:7860": 200, "evil.example": 421, "1.2.3": 421}
    found = {n: browser.get("/healthz", headers={"Host": n}).status_code for n in names}
    assert found == names


METHODS = ["POST", "PUT", "PATCH", "DELETE"]
TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
         "application/json"]  # fmt: skip
ORIGINS = ["null", EVIL, None, "http://127.0.0.1:7861", "https://127.0.0.1:1", BASE]
SITES = ["cross-site", "same-site", "none", None, "same-origin"]
RIGHT = ("application/json", BASE, "same-origin", True)


def test_of_all_writes_only_our_own_page_s_are_taken(app):
    """Method x type x Origin x Sec-Fetch-Site x header, with a cookie: 800 requests, few pass."""
    browser = log_in(TestClient(app, BASE))
    for name in ("Origin", "X-Tunery", "Sec-Fetch-Site"):
        browser.headers.pop(name)
    taken = set()
    for method, kind, origin, site, marked in itertools.product(
        METHODS, TYPES, ORIGINS, SITES, (True, False)
    ):
        headers = {"Content-Type": kind}
        headers |= {"Origin": origin} if origin else {}
        headers |= {"Sec-Fetch-Site": site} if site else {}
        headers |= {"X-Tunery": "1"} if marked else {}
        answer = browser.request(
            method, "/api/v1/prefs/csrf", headers=headers, content=b'{"value": "changed"}'
        )
        if answer.status_code not in (403, 415):
            taken.add((kind, origin, site, marked))
    assert taken == {RIGHT, ("application/json", BASE, None, True)}


@pytest.mark.parametrize("kind", ["application/json; charset=latin-1", "application/jsonp", "json",
                                  "application/json, text/plain", "text/json"])  # fmt: skip
def test_the_type_of_a_body_is_exact(client, kind):
    answer = client.put("/api/v1/prefs/a", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 415
    said = "must be UTF-8" if "charset" in kind else "Send JSON with Content-Type"
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-16", "text/plain"])
def test_v1_says_which_type_it_takes(anonymous, key, kind):
    headers = key("chat") | {"Content-Type": kind}
    answer = anonymous.post("/v1/chat/completions", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


def test_a_foreign_page_is_told_the_option_that_lets_it_in(anonymous, key):
    for method in ("GET", "POST"):
        answer = anonymous.request(
            method, "/v1/models", headers=key("chat") | {"Origin": "https://app.example"}
        )
        assert answer.status_code == 403
        assert "--cors-origin https://app.example" in answer.json()["error"]["message"]
    strange = key("chat") | {"Origin": "null"}
    assert "--cors-origin ORIGIN" in anonymous.get("/v1/models", headers=strange).text
    other = anonymous.get("/api/v1/health", headers=key("admin") | {"Origin": EVIL})
    assert "--public-url" in other.json()["fix"]


def test_a_program_with_a_key_needs_no_origin_but_gives_no_foreign_one(app, anonymous, key):
    headers = key("admin")
    assert anonymous.put("/api/v1/prefs/a", json={}, headers=headers).status_code == 200
    headers["Origin"] = EVIL
    assert anonymous.put("/api/v1/prefs/a", json={}, headers=headers).status_code == 403


def test_other_pages_get_no_stream_and_no_data(client):
    for headers in ({"Origin": EVIL}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = client.get("/api/v1/events", params={"topics": "runs"}, headers=headers)
        assert answer.status_code == 403
        assert client.get("/api/v1/prefs", headers=headers).status_code == 403


def test_no_answer_lets_another_origin_read_it(client, anonymous):
    asks = {"Origin": EVIL, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-tunery,content-type"}  # fmt: skip
    for browser in (client, anonymous):
        for path in ("/healthz", "/api/v1/prefs", "/login", "/v1/models"):
            answers = [browser.options(path, headers=asks), browser.get(path, headers=asks)]
            for answer in answers:
                assert not [h for h in answer.headers if h.startswith("access-control")]


def test_a_websocket_is_refused(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/v1/events"):
        pass


def test_every_answer_carries_the_headers_of_a_careful_server(quiet, anonymous):
    for answer in (
        quiet.get("/api/v1/prefs"),
        quiet.get("/login"),
        quiet.get("/nothing"),
        anonymous.get("/api/v1/prefs"),
        anonymous.get("/healthz", headers={"Host": "evil.example"}),
    ):
        policy = answer.headers["content-security-policy"]
        for rule in ("default-src 'self'", "script-src 'self'", "object-src 'none'",
                     "base-uri 'none'", "frame-ancestors 'none'"):  # fmt: skip
            assert rule in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers


@pytest.mark.parametrize("prefix", ["/proxy/7860", "proxy/7860/"])
@pytest.mark.parametrize("path", ["/proxy/7860/healthz", "/healthz"], ids=["kept", "stripped"])
def test_a_prefix_works_whether_the_proxy_strips_it_or_not(home, prefix, path):
    browser = TestClient(create_app(ServerSettings(root_path=prefix)), BASE)
    assert browser.get(path).status_code == 200


def test_below_a_prefix_the_login_and_the_cookie_stay_there(home):
    from tunery.web.app import create

    app = create(ServerSettings(root_path="/proxy/7860"))
    browser = TestClient(app, BASE, follow_redirects=False)
    sent = browser.get("/proxy/7860/", headers={"Accept": "text/html"})
    assert sent.headers["location"] == "/proxy/7860/login?next=/"
    answer = browser.post(
        "/proxy/7860/api/v1/session",
        json={"token": app.state.token.token()},
        headers={"Origin": BASE, "X-Tunery": "1"},
    )
    assert "Path=/proxy/7860;" in answer.headers["set-cookie"]
    assert browser.get("/proxy/7860/api/v1/health").status_code == 200


def test_what_a_proxy_forwards_is_believed_only_when_one_was_announced(home):
    headers = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7", "X-Forwarded-Proto": "https",
               "Origin": BASE, "X-Tunery": "1"}  # fmt: skip
    seen = {}
    for name, settings in {
        "none": ServerSettings(),
        "announced": ServerSettings(public_urls=("https://pod.example.net",)),
    }.items():
        app = create_app(settings)
        browser = TestClient(app, BASE, headers=headers, client=("127.0.0.1", 5))
        answer = browser.post("/api/v1/session", json={"token": app.state.token.token()})
        browser.post("/api/v1/session", json={"token": "wrong"})
        seen[name] = (_counted(app), "Secure" in answer.headers["set-cookie"])
    assert seen == {"none": ({"127.0.0.1"}, False), "announced": ({"203.0.113.7"}, True)}
    far = TestClient(create_app(settings), BASE, headers=headers, client=("192.0.2.1", 5))
    far.post("/api/v1/session", json={"token": "wrong"})
    assert _counted(far.app) == {"192.0.2.1"}


def _counted(app):
    """The addresses that wrong tokens are counted for."""
    return {address for address, _ in app.state.failures._times}


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "en"),
        ({"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}, "zh"),
        ({"Accept-Language": "de,en;q=0.5,zh;q=0.3"}, "en"),
        ({"Accept-Language": "zh;q=bad, ,;;"}, "en"),
        ({"Accept-Language": "en", "Cookie": "tunery_lang=zh"}, "zh"),
        ({"Cookie": "tunery_lang=xx"}, "en"),
    ],
)
def test_each_request_is_answered_in_its_own_language(anonymous, headers, language):
    said = anonymous.get("/api/v1/health", headers=headers).json()["detail"]
    assert ("令牌" in said) == (language == "zh")
