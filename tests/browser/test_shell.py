"""The frame of every page in a real browser."""

from __future__ import annotations

from playwright.sync_api import Page
from tests.browser.looking import check_page, problems


def test_start_is_readable_in_every_language_theme_and_width(page: Page) -> None:
    check_page(page, "/", name="start")


def test_the_look_finds_what_is_wrong(page: Page) -> None:
    page.goto("/")
    page.evaluate(
        """() => {
          const bad = document.createElement("div");
          bad.innerHTML = '<input type="text"><p id="long">too long for its box</p>';
          document.querySelector("#main").append(bad);
          const long = document.querySelector("#long");
          long.style.whiteSpace = "nowrap";
          long.style.width = "40px";
          bad.style.width = "3000px";
        }"""
    )
    found = "\n".join(problems(page))
    assert "px too wide" in found
    assert 'cut: <p class=""> too long' in found
    assert "axe label" in found
