"""Looking at a page as a careful person does: is anything cut, too wide, unreadable, unnamed?

``check_page(page, "/runs")`` opens a path in both languages and both themes, at 1440 and 390 px,
and fails with a list of everything that is wrong: axe-core (serious and critical), a horizontal
scroll bar, text that does not fit its box. A screenshot of each stays in ``shots``.
``problems(page)`` does the same for a page as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

SHOTS = Path(__file__).parent / "shots"
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 390, "height": 844}

_NAME = """const name = (e) =>
  `<${e.tagName.toLowerCase()} class="${e.className}"> ${e.textContent.trim().slice(0, 60)}`;"""
_TOO_WIDE = f"""() => {{
  {_NAME}
  const room = document.documentElement.clientWidth;
  const wide = document.documentElement.scrollWidth - room;
  if (wide <= 0) return [];
  const found = [...document.body.querySelectorAll("*")].filter((e) => {{
    const box = e.getBoundingClientRect();
    return box.width && box.right > room + 1 && !e.closest(".scroll, .places, .tabs, .unseen");
  }});
  return [`the page is ${{wide}} px too wide: ` + found.slice(0, 4).map(name).join(" | ")];
}}"""
_CUT = f"""() => {{
  {_NAME}
  const cut = (e) => {{
    if (!e.clientWidth || e.closest(".unseen, .skip, svg, canvas, textarea, select")) return false;
    if (e.matches(".cut[title], input, pre, progress, .scroll, .places, .tabs")) return false;
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(e);
    if (!own || style.visibility === "hidden" || /auto|scroll/.test(style.overflowX)) return false;
    const tall = /hidden|clip/.test(style.overflowY) && e.scrollHeight > e.clientHeight + 2;
    return e.scrollWidth > e.clientWidth + 1 || tall;
  }};
  return [...document.body.querySelectorAll("*")].filter(cut).map((e) => "cut: " + name(e));
}}"""


def check_page(
    page: Page,
    path: str,
    *,
    name: str = "",
    ready: Callable[[Page], None] | None = None,
    skip: Sequence[str] = (),
) -> None:
    """Look at one page in every language, theme and width.

    Args:
        page: A tab that is logged in.
        path: Path to open.
        name: Of the screenshots; by default the path.
        ready: Waits until the page shows what is to be looked at.
        skip: Ids of axe rules to leave out, with the reason in the calling test.
    """
    name = name or path.split("?")[0].strip("/").replace("/", "-") or "start"
    found: list[str] = []
    for language in ("en", "zh"):
        for theme in ("light", "dark"):
            dress(page, language, theme)
            page.set_viewport_size(WIDE)
            page.goto(path)
            expect(page.locator("html")).to_have_attribute("data-connection", "live")
            if ready:
                ready(page)
            where = f"{name}-{language}-{theme}"
            found += [f"{where}: {text}" for text in problems(page, skip=skip)]
            _shoot(page, where)
            page.set_viewport_size(NARROW)
            found += [f"{where}-390: {text}" for text in problems(page, skip=skip, axe=False)]
            _shoot(page, f"{where}-390")
    page.set_viewport_size(WIDE)
    dress(page, "en", "auto")
    assert not found, "\n".join(found)


def problems(page: Page, *, skip: Sequence[str] = (), axe: bool = True) -> list[str]:
    """What is wrong with a page as it stands."""
    found: list[str] = [*page.evaluate(_TOO_WIDE), *page.evaluate(_CUT)]
    return found + (_axe(page, skip) if axe else [])


def dress(page: Page, language: str, theme: str) -> None:
    """Choose language and theme as the buttons do; the next page shows them."""
    if not page.url.startswith("http"):
        page.goto("/login")  # the profile's own base address is not public
    parts = urlsplit(page.url)
    address = f"{parts.scheme}://{parts.netloc}/"
    page.context.add_cookies(
        [
            {"name": "tunery_lang", "value": language, "url": address},
            {"name": "tunery_theme", "value": theme, "url": address},
        ]
    )


def _axe(page: Page, skip: Sequence[str]) -> list[str]:
    options: dict[str, Any] = {
        "resultTypes": ["violations"],
        "rules": {rule: {"enabled": False} for rule in skip},
    }
    results = Axe().run(page, options=options).response
    return [
        f"axe {violation['id']}: {node['html'][:140]} ({node.get('failureSummary', '')[:160]})"
        for violation in results["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def _shoot(page: Page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")
