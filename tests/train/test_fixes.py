"""Advice works: a sentence that names a setting is applied to the input that caused it.

It leads to a run, or to another sentence. Which sentences of the code are applied here and which
are not is part of the test, so that a new one is applied or listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import advice
from tests.golden.bad_data_cases import alpaca, jsonl
from tests.train import tiny
from tests.train.fix_cases import CASES_OF_ADVICE, Case
from tests.train.test_agreement import run_in_process

from tunery.cli.main import main
from tunery.config.load import Loaded, from_tokens
from tunery.errors import DataError, TuneryError
from tunery.i18n import Phrase, Sentence, phrase_of
from tunery.services import datasets, runs, settings

BASE = (
    *("--model.dtype", "fp32", "--model.device", "cpu", "--train.max_steps", "1"),
    *("--train.num_threads", "1", "--evaluate.every", "never", "--checkpoint.every", "never"),
)


def flags(changes: dict[str, Any]) -> list[str]:
    """Settings as a person types them."""
    found: list[str] = []
    for path, value in changes.items():
        if isinstance(value, dict):
            found += flags({f"{path}.{key}": inner for key, inner in value.items()})
        else:
            found += [f"--{path}", settings_text(value)]
    return found


def settings_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def told(loaded: Loaded) -> Iterator[Phrase]:
    """Everything that check and plan say, and whatever is filled in there."""
    config = loaded.config
    try:
        report = datasets.check_with_model(config.data.train[0], config, wanted=config.method.rows)
        for problem in report.problems():
            yield from _inside(problem.fix)
        runs.plan(loaded, trial=run_in_process)
    except TuneryError as error:
        yield from _inside(error.fix)


def _inside(value: Any) -> Iterator[Phrase]:
    phrase = phrase_of(value)
    if phrase is not None:
        yield phrase
        for inner in phrase.values.values():
            yield from _inside(inner)


def advised(case: Case, phrase: Phrase) -> dict[str, Any]:
    """The settings that the sentence names, filled in; a person's own words for the open ones."""
    values = {name: str(value) for name, value in phrase.values.items()}
    found: dict[str, Any] = {}
    text = str(phrase)
    for named in settings.named(phrase.template) or settings.named(text):
        path = named.path.format(**values)
        if case.only and path not in case.only:
            continue
        if named.value is not None and path not in case.answers:
            found[path] = named.value.format(**values)
    for path, value in case.answers.items():
        owners = {n.owner.path for n in settings.named(text)} | {
            n.path for n in settings.named(text)
        }
        owners |= (
            {"data.train"}
            if text.startswith("Use the name of one of them and add --data.catalog")
            else set()
        )
        assert any(path == owner or path.startswith(f"{owner}.") for owner in owners), (path, text)
        found[path] = value
    return found


@pytest.mark.parametrize("case", CASES_OF_ADVICE, ids=lambda case: case.id)
def test_advice_leads_to_a_run_or_to_another_sentence(
    case: Case, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / case.file
    if isinstance(case.content, bytes):
        path.write_bytes(case.content)
    else:
        case.content(path)
    request = ["--model.name", str(model), "--data.train", str(path), *BASE, *flags(case.given)]
    before = list(told(from_tokens(request)))
    phrase = next((p for p in before if p.template == case.sentence), None)
    assert phrase is not None, [p.template for p in before]
    changes = advised(case, phrase)
    assert changes
    if case.edited is not None:
        path.write_bytes(case.edited)
    if "data.train" in changes:
        request[request.index("--data.train") + 1] = changes.pop("data.train")
    after = [str(p) for p in told(from_tokens([*request, *flags(changes)]))]
    assert str(phrase) not in after


COMMAND = re.compile(r"tunery ((?:[a-z]+ )+[^\s,.:;]+(?: --?[\w-]+)*|[a-z]+ [a-z]+)")
COMMANDS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("Choose a dataset: tunery data list", (("data", "check", ""),)),
    ("List them with: tunery runs list", (("runs", "delete", "nothing"),)),
    (
        "Trackers are set before a run starts: tunery config help track",
        (("runs", "track", "taken"),),
    ),
    ("See what is available: tunery models list", (("models", "remove", "owner/nothing"),)),
    ("All settings: tunery config help", (("plan", "--qqq.zzz", "1"),)),
    ("Presets: {names}. Runs: tunery runs list", (("config", "diff", "nothing", "nothing"),)),
    (
        "Choose another name, or first: tunery data remove {name}",
        (("data", "add", "mine", "good.jsonl"), ("data", "add", "mine", "good.jsonl")),
    ),
    (
        "Restore the file, or: tunery data remove {name}",
        (("data", "add", "mine", "gone.jsonl"), ("gone",), ("data", "check", "mine")),
    ),
    (
        "Use a run, RUN@step-00000100, or an adapter folder: tunery runs list",
        (("export", "MODEL", "--to", "merged", "out"),),
    ),
    (
        "Choose another name, resume it: tunery runs resume {name}, or delete it: tunery "
        "runs delete {name}",
        (("train", "--name", "taken", "--data.train", "good.jsonl"),),
    ),
)


@pytest.mark.parametrize(("sentence", "steps"), COMMANDS, ids=[c[0] for c in COMMANDS])
def test_a_command_that_advice_names_does_what_it_says(
    sentence: str,
    steps: tuple[tuple[str, ...], ...],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    for name in ("good", "gone"):
        Path(f"{name}.jsonl").write_bytes(jsonl(alpaca(1)))
    tiny.prepared("taken", model, Path("good.jsonl"))
    status, said = 0, ""
    for words in steps:
        if words == ("gone",):
            Path("gone.jsonl").unlink()
            continue
        words = tuple(str(model) if word == "MODEL" else word for word in words)
        status = main(list(words))
        said = "".join(capsys.readouterr())
    assert status == 2
    fixed = re.sub(r"\\{\w+\\}", "(.+?)", re.escape(sentence))
    assert re.search(fixed, said), said
    fix = said[said.rindex(sentence.partition("{")[0]) :]
    command = COMMAND.findall(fix)[-1].split()
    told = main(command)
    after = "".join(capsys.readouterr())
    assert (told, "Traceback" in after, said in after) == (0, False, False)


UNTRIED = """
Free some space and resume the run, or start one with a lower method.teacher_top_k.
If the rows have one of these formats, set data.format; otherwise use a column of {format}: {names}.
If the rows have this format: --data.format {owners}; otherwise use a column of {format}: {names}.
Set method.teacher_top_k to 64, or to null to keep the teacher in memory and compare all tokens.
Repeat it less often, or train for more epochs: train.num_epochs.
Choose another template with model.template, or correct the model's template.
Use a setting, such as train.seed, or one of: {names}.
A run does this when it starts. To do it now: tunery data preview {name} --stats
Check that it is a table of text; if it is, set --data.max_columns {count}.
Resume from an earlier checkpoint with a lower optim.learning_rate.
Delete it with: tunery runs delete {name}
Split it into smaller records, or set --data.max_record_mb {needed}.
Download it (93 MB): tunery models pull demo
To use the one listed in {file}, add --data.catalog .
Free some space, lower checkpoint.keep, or set TUNERY_HOME to a larger disk.
If that is meant: tunery data remove {name}, then add it again.
If the base model is elsewhere, set its location: tunery models base {name} MODEL
Import it once: tunery models pull {path}
It is in the address that tunery web printed, after #token=.
Keep one assistant message per answer, or choose another model.template.
Set adapter.type to {theirs}, or use the base model to start over.
Choose another adapter.type.
Merge it into a model first: tunery export {folder} --to merged NEW-MODEL
Adapters of one kind can be loaded together. Merge this one into a model: tunery export {folder} --to merged NEW-MODEL
Remove adapter.target_parameters.
Remove quantization.type.
Use the version that is not quantized; quantization.type can make it small.
Lower adapter.rank.
Lower data.max_length below {tokens}, or use a smaller model.
Lower optim.learning_rate, set model.dtype to fp32, or check the rows.
Lower optim.learning_rate, then train again from the last checkpoint's settings.
Create a new one: tunery web --new-token
Merge both into one model and use that: tunery export {folder} --to merged NEW-MODEL
Merge that adapter first: tunery export {base} --to merged FOLDER
Choose a dataset that has rows: tunery data list
Use a run (tunery runs list) or a folder with adapter_config.json.
Use a settings file (.yaml); pass settings as flags: --data.train NAME.
Set it: tunery models base {name} MODEL
Use the merged model (tunery export ADAPTER --to merged FOLDER), or set {setting} to cross_entropy.
Use the name of one of its datasets and add --data.catalog {parent}
Set the base model it was trained on: tunery models base {name} MODEL
Open the address that tunery web printed, or send the printed key: Authorization: Bearer KEY.
Undo the change, or accept it: tunery runs resume {run} {flags}
Restore the weights, or set the model to use: tunery models base {name} MODEL
Review the code, then allow exactly this version: tunery models allow-code {folder}
Run git lfs pull in that folder, or: tunery models pull OWNER/NAME
Save the file as UTF-8, or set --data.encoding to the encoding it was written in.
Save the file as UTF-8, or set --data.encoding to the one that reads correctly: {names}.
See its progress: tunery runs show {run}
Set --data.encoding to the file's encoding.
Set --data.encoding to the file's encoding, likely {names}.
Set --data.format sharegpt, which reads the keys from and value.
Set adapter.dropout to 0.
Set adapter.init to default.
Set adapter.use_dora to false.
Set data.packing to false for this model.
Set it at the command line: tunery runs notify --email "mail -s {subject} me"
Set it at the command line: tunery runs notify --power-off "shutdown -h now"
Set it to false. To save memory, lower train.micro_batch_tokens or data.max_length.
Set model.dtype to fp32.
Set train.gradient_checkpointing to true.
Some templates need a user message first. To check yours, add --model.name.
Stop it first: tunery runs stop {run}
Remove train from this message, or choose another template with model.template.
To evaluate on {split}: --evaluate.datasets {own}:{split}. To use every file: {own}:all
Continue training from its result: tunery train {config} --model.name {run}
Train with evaluate.split above 0, or choose a dataset.
Run it in a terminal, where there is no time limit: tunery plan
Watch it: tunery runs follow {run}, or stop it: tunery runs stop {run}
Choose them from the list: tunery runs list
"""  # noqa: E501
"""Sentences that need a network, a second process, a damaged disk or a person; not tried yet."""


def test_no_button_puts_a_stand_in_into_a_setting() -> None:
    for sentence in advice.sentences():
        error = DataError("wrong", fix=Sentence(sentence, Phrase(sentence)))
        for remedy in settings.with_remedies(error).fields.get("remedies", ()):
            for value in remedy["set"].values():
                assert value not in ("THEIRS", "ROLE", "NAME", "..."), sentence


def test_every_sentence_that_names_a_setting_or_a_command_is_tried_here_or_listed() -> None:
    tried = {case.sentence for case in CASES_OF_ADVICE} | {sentence for sentence, _ in COMMANDS}
    listed = set(UNTRIED.strip().splitlines())
    assert advice.sentences() - tried == listed
