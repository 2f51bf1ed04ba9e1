"""The page behind the real programs that people put between a browser and a server.

nginx shows it under a path prefix, with buffering on; OpenSSH carries it through the tunnel that
``tunery web`` prints. Both run on loopback with everything they need in this test's folder.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.browser.conftest import PATIENCE_MS, Server, Troubles, _free_port, watch
from tests.browser.test_shell import LOST, live, make_run
from tests.waiting import PATIENCE_SECONDS

PREFIX = "/proxy/7860"
NGINX = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location {prefix}/ {{
      proxy_buffering on;
      {lines}
    }}
  }}
}}
"""
SSHD = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


# --- nginx --------------------------------------------------------------------------------

STRIPPED = """
proxy_pass http://127.0.0.1:{upstream}/;
proxy_http_version 1.1;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
"""
KEPT = "proxy_pass http://127.0.0.1:{upstream};"
DEAF = f"{KEPT} proxy_ignore_headers X-Accel-Buffering;"
"""nginx holds the stream back whatever the server says: over HTTP/1.0, its default, it does."""


@pytest.fixture
def proxy(home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The server behind nginx; ``url`` is what the browser sees, the parameter nginx's lines."""
    program = needed("nginx")
    port = _free_port()
    origin = f"http://127.0.0.1:{port}"
    server = Server(home, "--root-path", PREFIX, "--public-url", origin)
    config = tmp_path / "nginx.conf"
    config.write_text(
        NGINX.format(
            user="user root;" if os.geteuid() == 0 else "",
            folder=tmp_path,
            port=port,
            prefix=PREFIX,
            lines=request.param.format(upstream=server.port),
        )
    )
    command = [program, "-p", str(tmp_path), "-e", str(tmp_path / "start.log"), "-c", str(config)]
    try:
        server.start()
        with running(command, tmp_path / "nginx-output.log") as nginx:
            opened(nginx, port, tmp_path / "nginx-output.log")
            server.url = origin + PREFIX
            yield server
    finally:
        server.end_all()


@pytest.mark.parametrize("proxy", [STRIPPED, KEPT], ids=["stripped", "kept"], indirect=True)
def test_nginx_shows_every_page_under_its_prefix(
    proxy: Server, chromium: Browser, troubles: Troubles
) -> None:
    with visitor(chromium, proxy.url, troubles) as page:
        seen: list[str] = []
        page.on("response", lambda answer: seen.append(answer.url))
        log_in_at_the_door(page, proxy)
        expect(page.get_by_role("heading", level=1)).to_have_text("Start here")
        live(page)  # nginx obeys X-Accel-Buffering: no
        make_run(proxy.home, "through-nginx")
        expect(page.locator("#jobbox")).to_contain_text("through-nginx")
        for name in ("Runs", "Train"):
            page.get_by_role("link", name=name, exact=True).first.click()
            expect(page).to_have_url(f"{proxy.url}/{name.lower()}")
            expect(page.get_by_role("heading", level=1)).to_have_text(name)
            links = page.eval_on_selector_all(
                "[href], [src]", "all => all.map(one => one.href?.baseVal ?? one.href ?? one.src)"
            )
            assert [link for link in links if urlsplit(link).scheme and outside(proxy, link)] == []
            live(page)
        page.get_by_label("Epochs", exact=True).fill("7")
        expect(page.locator("#draft-state")).not_to_have_text("Saving…")
        assert kept_epochs(proxy) == "7"
        page.goto(f"{proxy.url}/runs")
        page.get_by_role("link", name="through-nginx").first.click()
        expect(page).to_have_url(f"{proxy.url}/runs/through-nginx")
        expect(page.get_by_role("heading", level=1)).to_contain_text("through-nginx")
        assert [address for address in seen if outside(proxy, address)] == []
        assert writes_of_strangers(page, proxy) == [403, 403, 403]


@pytest.mark.parametrize("proxy", [DEAF], ids=["deaf"], indirect=True)
def test_nginx_that_holds_the_stream_back_is_polled(
    proxy: Server, chromium: Browser, troubles: Troubles
) -> None:
    with visitor(chromium, proxy.url, troubles) as page:
        log_in_at_the_door(page, proxy)
        page.goto(f"{proxy.url}/runs")
        # 15 s without a sign come first
        expect(page.locator("html")).to_have_attribute("data-connection", "polling")
        make_run(proxy.home, "polled")
        expect(page.locator("#jobbox")).to_contain_text("polled")
        expect(page.get_by_text(LOST)).to_be_hidden()


def test_the_printed_address_leads_through_the_proxy(home: Path) -> None:
    origin = "http://127.0.0.1:9"
    server = Server(home, "--root-path", PREFIX, "--public-url", origin)
    try:
        server.start()
        assert f"  {origin}{PREFIX}/#token={server.token}\n" in server.log.read_text()
    finally:
        server.end_all()


def log_in_at_the_door(page: Page, server: Server) -> None:
    """Come without a session, and paste the token."""
    page.goto(f"{server.url}/")
    expect(page).to_have_url(f"{server.url}/login?next=/")
    page.get_by_label("Access token").fill(server.token)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server.url}/")


def outside(server: Server, address: str) -> bool:
    """Whether an address does not lie under the prefix."""
    return not f"{address}/".startswith(f"{server.url}/")


def writes_of_strangers(page: Page, server: Server) -> list[int]:
    """The answers to writes with the session but from another page, without Origin or header."""
    parts = urlsplit(server.url)
    own = f"{parts.scheme}://{parts.netloc}"
    given: list[dict[str, str]] = [
        {"Origin": "http://elsewhere.example", "X-Tunery": "1"},
        {"X-Tunery": "1"},
        {"Origin": own},
    ]
    address = f"{server.url}/api/v1/drafts/draft"
    body = {"preset": None, "fields": {}}
    return [page.request.put(address, data=body, headers=each).status for each in given]


# --- the tunnel ---------------------------------------------------------------------------


class Tunnel:
    """OpenSSH's server in a folder, and the tunnel that ``tunery web`` prints through it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.ssh_port, self.port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def sshd(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        """The other machine's end, with keys of its own."""
        self.folder.mkdir()
        for name in ("host", "user"):
            path = str(self.folder / name)
            keygen = [needed("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", path]
            subprocess.run(keygen, check=True)
        kind, key, *_ = (self.folder / "host.pub").read_text().split()
        known = f"[127.0.0.1]:{self.ssh_port} {kind} {key}\n"
        (self.folder / "known").write_text(known)
        config = self.folder / "sshd_config"
        config.write_text(SSHD.format(port=self.ssh_port, folder=self.folder))
        command = [needed("sshd"), "-D", "-e", "-f", str(config)]
        return running(command, self.folder / "sshd.log")

    @contextlib.contextmanager
    def open(self) -> Iterator[subprocess.Popen[bytes]]:
        """The printed line; only the near port, the name and the keys are this test's."""
        printed = re.search(r"^  (ssh -N -L .+)$", self.server.log.read_text(), re.MULTILINE)
        assert printed
        program, *options, forward, target = shlex.split(printed[1])
        near, far = forward.split(":", 1)
        user, _, host = target.partition("@")
        assert (program, options) == ("ssh", ["-N", "-L"])
        assert (near, far) == (str(self.server.port), f"127.0.0.1:{self.server.port}")
        assert (user, bool(host)) == (getpass.getuser(), True)
        own = [
            "-F", "none", "-p", str(self.ssh_port), "-i", str(self.folder / "user"),
            "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ExitOnForwardFailure=yes",
            "-o", "StrictHostKeyChecking=yes",
            "-o", f"UserKnownHostsFile={self.folder / 'known'}",
        ]  # fmt: skip
        target = f"{user}@127.0.0.1"
        command = [needed("ssh"), *own, *options, f"{self.port}:{far}", target]
        with running(command, self.folder / "ssh.log") as ssh:
            opened(ssh, self.port, self.folder / "ssh.log")
            yield ssh


@pytest.fixture
def tunnel(server: Server, tmp_path: Path) -> Iterator[Tunnel]:
    """sshd on loopback; ``open()`` is the tunnel."""
    made = Tunnel(tmp_path / "ssh", server)
    with separation_folder(), made.sshd() as sshd:
        opened(sshd, made.ssh_port, tmp_path / "ssh" / "sshd.log")
        yield made


def test_the_page_outlives_the_tunnel_that_it_came_through(
    server: Server, tunnel: Tunnel, chromium: Browser, troubles: Troubles
) -> None:
    troubles.allow("ERR_")
    with visitor(chromium, tunnel.url, troubles) as page:
        with tunnel.open() as ssh:
            page.goto(f"{tunnel.url}/#token={server.token}")
            expect(page.get_by_role("heading", level=1)).to_have_text("Start here")
            live(page)
            page.get_by_role("link", name="Train", exact=True).first.click()
            expect(page).to_have_url(f"{tunnel.url}/train")
            live(page)
            epochs = page.get_by_label("Epochs", exact=True)
            expect(epochs).to_be_visible()
            ssh.send_signal(signal.SIGKILL)
            ssh.wait()
        expect(page.get_by_text(LOST)).to_be_visible()
        epochs.fill("7")
        state = page.locator("#draft-state")
        expect(state).to_have_text("Offline: saved in this browser")
        make_run(server.home, "meanwhile")
        with tunnel.open():
            expect(page.get_by_text(LOST)).to_be_hidden()
            live(page)
            expect(page.locator("#jobbox")).to_contain_text("meanwhile")
            expect(state).to_have_text(re.compile("^(Draft saved|[0-9]+ fields? to fix)$"))
            assert kept_epochs(server) == "7"
            page.reload()
            expect(epochs).to_have_value("7")
            page.goto("about:blank")


@contextlib.contextmanager
def separation_folder() -> Iterator[None]:
    """The empty folder that root's sshd wants; Debian makes it when the service starts."""
    folder = Path("/run/sshd")
    made = os.geteuid() == 0 and not folder.exists()
    if made:
        folder.mkdir(mode=0o755)
    yield
    if made:
        with contextlib.suppress(OSError):
            folder.rmdir()


# --- both ---------------------------------------------------------------------------------


def needed(name: str) -> str:
    """The full path of a program; skips where it is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = f"no {name} on this machine (apt install nginx openssh-server openssh-client)"
        if os.environ.get("TUNERY_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the foreground; it and what it started are gone afterwards."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in psutil.wait_procs(children, timeout=5)[1]:
            child.kill()


def opened(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a program listens."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} did not start:\n{log.read_text()}")
        time.sleep(0.02)


@contextlib.contextmanager
def visitor(chromium: Browser, address: str, troubles: Troubles) -> Iterator[Page]:
    """A tab of a profile without a session that must stay at one origin."""
    parts = urlsplit(address)
    context: BrowserContext = chromium.new_context(
        viewport={"width": 1440, "height": 900}, locale="en-US"
    )
    context.set_default_timeout(PATIENCE_MS)
    watch(context, f"{parts.scheme}://{parts.netloc}", troubles)
    yield context.new_page()
    context.close()
    assert troubles.left() == []


def kept_epochs(server: Server) -> str:
    """What the server keeps in the draft, asked without the peer."""
    answer = httpx.get(
        f"http://127.0.0.1:{server.port}/api/v1/drafts/draft",
        headers={"Authorization": f"Bearer {server.token}"},
        trust_env=False,
    )
    return str(answer.raise_for_status().json()["draft"]["fields"].get("train.num_epochs"))
