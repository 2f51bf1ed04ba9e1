"""Names and paths: two hundred ways out, none of which leads anywhere."""

from __future__ import annotations

import itertools
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.web.routes_of import filled, parameters

from tunery.errors import TuneryError
from tunery.services import access
from tunery.services.machine import _roots

UP = ["..", "../", "..\\", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..%c0%af",
      "%c0%ae%c0%ae/", "....//", "..;/", ".%2e/", "..%00/", "..%252f",
      "\u2025/", "\uff0e\uff0e/", "..\u2215"]  # fmt: skip
TARGETS = ["etc/passwd", "secret/token", "", "proc/self/environ", "~root/.ssh/id_rsa"]
ODD = [
    "/", "//", "/etc/passwd", "//etc/passwd", "\\\\host\\share", "//host/share", "C:\\", "c:/x",
    "file:///etc/passwd", "CON", "con.txt", "NUL", "aux", "com1", "lpt9.log", "a\x00b", "a\nb",
    "a\rb", "a\tb", "\u202etxt.exe", "\u200ba", "a" * 65, "a" * 300, ".", "..", "...", " ", "",
    " a", "a ", "a.", "-a", ".a", "_a", "A", "é", "a/b", "a\\b", "a:b", "a*b", "a?b", "a|b",
    "a<b", 'a"b',
    "a'b", "a;b", "a&b", "a$b", "$(x)", "`x`", "~", "~root", "%", "%2e", "{x}", "a\x7fb", "\x1b[0m",
    "\ud800", "ﬁle", "secret", "../root-sibling/x", "-rf", "--help",
]  # fmt: skip
CORPUS = sorted({f"{up * n}{target}" for up, n, target in itertools.product(UP, (1, 3), TARGETS)})
CORPUS += [word for word in ODD if word != "secret"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "good").mkdir(parents=True)
    (tmp_path / "root-sibling").mkdir()
    (tmp_path / "root-sibling" / "x").write_text("out")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "token").write_text("out")
    return root


def test_the_corpus_is_large():
    assert len(CORPUS) >= 200


def test_no_name_of_the_corpus_is_a_run(root):
    accepted = []
    for word in CORPUS:
        try:
            accepted.append(access.run(word))
        except TuneryError:
            continue
    assert [word for word in accepted if "/" in word or "\\" in word or ".." in word] == []
    assert [access.run(name) for name in ("a", "qwen3-4b", "a.b_c-d", "0" * 64)]


def test_no_path_of_the_corpus_leads_out_of_the_root(root, tmp_path, monkeypatch):
    monkeypatch.setattr(_roots, "roots", lambda: [root])
    monkeypatch.chdir(root)
    for word in CORPUS:
        try:
            found = access.path(word)
        except TuneryError:
            continue
        assert found.is_relative_to(root), word
    assert access.path("good") == root / "good"
    with pytest.raises(TuneryError):  # the same beginning, another folder
        access.path(str(tmp_path / "root-sibling" / "x"))
    monkeypatch.setattr(_roots, "roots", lambda: [root, tmp_path / "secret"])
    assert access.path(str(tmp_path / "secret" / "token"))


def test_links_lead_nowhere(root, tmp_path, monkeypatch):
    monkeypatch.setattr(_roots, "roots", lambda: [root])
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    for given in ("link", "link/token", "loop"):
        with pytest.raises(TuneryError):
            access.path(str(root / given))


def test_no_parameter_of_any_route_leads_out(app, quiet, home, tmp_path):
    """Every word in every path parameter: refused, never a file's content and never a 500."""
    canary = "CANARY-7f3a"
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "token").write_text(canary)
    words = [w for w in CORPUS if "\ud800" not in w and w.isprintable()][::40]
    words += ["..%2f..%2fsecret%2ftoken", "%2e%2e", "..%00", "CON", "a" * 300, "-rf"]
    wrong = []
    for method, path in parameters(app):
        if path.startswith("/static/"):
            continue
        for word in words:
            answer = quiet.request(method, filled(path, quote(word, safe="/%\\.;:~")), json={})
            if answer.status_code >= 500 or canary in answer.text or "root:x:" in answer.text:
                wrong.append((method, path, word, answer.status_code))
    assert wrong == []
