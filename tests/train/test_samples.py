"""Which held-out rows are answered: short prompts, spread over the rows, each once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tunery.config.config import Config
from tunery.config.data import DataConfig
from tunery.data.examples import read
from tunery.train.measure import measure, samples


def chosen(tmp_path: Path, prompts: list[str]) -> list[str]:
    file = tmp_path / "rows.jsonl"
    rows = [{"instruction": prompt, "output": "a"} for prompt in prompts]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    template: Any = SimpleNamespace(
        prompt_ids=lambda messages, tools, thinking: messages[-1].content.split()
    )
    held_out = range(len(prompts))
    found = samples.choose(read([str(file)], DataConfig()), held_out, Config(), template)
    return [each.messages[-1].content for each in found]


def test_long_prompts_are_passed_over(tmp_path: Path) -> None:
    long = "word " * (samples.MAX_PROMPT_TOKENS + 1)
    prompts = [long + "1", "b", long + "2", "d", long + "3", "f"]
    assert sorted(chosen(tmp_path, prompts)) == ["b", "d", "f"]


def test_they_are_spread_and_no_prompt_comes_twice(tmp_path: Path) -> None:
    assert chosen(tmp_path, [f"p{n}" for n in range(9)]) == ["p0", "p3", "p6"]
    assert chosen(tmp_path, ["same"] * 6 + ["other"]) == ["same", "other"]


def test_the_rows_with_the_highest_loss_keep_their_text_and_say_where_it_is_cut() -> None:
    told = "word " * 200 + "END"
    endless = "x" * (measure.WORST_CHARACTERS + 1)
    rows = {0: (told, endless), 1: None}
    group = SimpleNamespace(rows=[SimpleNamespace(input_ids=SimpleNamespace(tolist=list))])
    held_out = SimpleNamespace(group=lambda place: group, question=rows.get)
    template = SimpleNamespace(decode=lambda ids: told)
    measuring: Any = SimpleNamespace(data=SimpleNamespace(held_out=held_out, template=template))
    found: Any = SimpleNamespace(worst=lambda count: [0, 1], row_losses=[2.0, 1.0])
    first, second = measure.Measurements._worst(measuring, found)
    assert first["prompt"] == told
    assert first["expected"] == endless[:-1] + "…"
    assert second["text"] == told
