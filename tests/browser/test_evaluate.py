"""Evaluate in a real browser: whose rows are measured, and what is said about them."""

from __future__ import annotations

from playwright.sync_api import Page, expect
from tests.web.test_exports import trained


def test_the_rows_follow_the_chosen_run_until_the_user_chooses(page: Page) -> None:
    trained("without", held_out=0, data=["instructions"])
    trained("with", held_out=4, data=["identity"])
    page.goto("/evaluate?model=with")
    rows, said = page.get_by_label("Rows", exact=True), page.locator("#rows-of-help")
    expect(rows).to_have_value("run:with")
    expect(said).to_have_text(
        "4 rows that with was not trained on. Other models may have seen them."
    )
    page.get_by_label("with", exact=True).uncheck()
    page.get_by_label("without", exact=True).check()
    expect(rows).to_have_value("")
    expect(said).to_contain_text("without has no held-out rows")
    page.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.locator("#rows-of-error")).to_have_text(
        "Choose a run's held-out rows, or a dataset."
    )
    expect(rows).to_be_focused()
    rows.select_option("dataset:instructions")
    expect(said).to_contain_text("without was trained on these rows")
    page.get_by_label("with", exact=True).check()
    expect(rows).to_have_value("dataset:instructions")  # chosen by the user
