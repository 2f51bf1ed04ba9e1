"""The report is one page that needs nothing else and shows data as text."""

from __future__ import annotations

from pathlib import Path

from tunery.train.tell import report

EVENTS = [
    {"type": "rows", "read": 10, "used": 8, "quarantined": 1, "filtered": {"too long": 1}},
    {"type": "sample", "stage": "before", "step": 0, "prompt": "Who?", "answer": "<b>nobody</b>"},
    *(
        {
            "type": "step",
            "step": i,
            "loss": 3.0 / i,
            "tokens": 100,
            "seconds": 0.5,
            "learning_rate": 1e-4,
            "grad_norm": 1.0,
            "tokens_per_second": 200.0,
        }
        for i in range(1, 12)
    ),
    {"type": "eval", "step": 11, "loss": 0.4, "best": True},
    {"type": "sample", "stage": "after", "step": 11, "prompt": "Who?", "answer": "Tuna <script>"},
    {"type": "warning", "code": "W704", "text": "2 rows & more", "count": 2},
]


def page() -> str:
    return report.render("tuna", Path("/runs/tuna"), EVENTS)


def test_text_of_models_and_data_is_escaped() -> None:
    assert "<script>" not in page()
    assert "&lt;b&gt;nobody&lt;/b&gt;" in page()
    assert "2 rows &amp; more" in page()


def test_the_page_names_no_other_host_and_runs_no_script() -> None:
    assert "http" not in page().replace('http-equiv="Content-Security-Policy"', "")
    assert "default-src 'none'" in page()


def test_rows_answers_and_curves_are_shown() -> None:
    text = page()
    assert "10 read = 8 used + 1 set aside + 1 filtered" in text
    assert text.index("Before and after") < text.index("<svg")
    assert text.count("<svg") == 4


def test_the_picture_is_a_png_even_of_a_run_without_steps() -> None:
    assert report.loss_png(EVENTS).startswith(b"\x89PNG")
    assert report.loss_png([]).startswith(b"\x89PNG")
