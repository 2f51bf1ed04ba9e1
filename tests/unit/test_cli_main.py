"""The command line: global options, wrong requests, exit statuses, `tunery config`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunery import __version__, i18n
from tunery.cli.main import main
from tunery.config import load
from tunery.config.config import Config

COMMAND = [sys.executable, "-m", "tunery"]


@pytest.fixture(autouse=True)
def _language(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TUNERY_LANG", "en")  # main sets it for the processes it starts
    yield
    i18n.set_language(None)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(words)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_version_is_one_line(capsys):
    assert run(capsys, "--version") == (0, f"tunery {__version__}\n", "")
    assert run(capsys, "--lang", "zh", "-V")[1] == f"tunery {__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(capsys, words):
    status, out, _ = run(capsys, *words)
    assert status == 0
    for name in ("train", "plan", "runs", "chat", "export", "data", "models", "config", "doctor"):
        assert f" {name} " in out


def test_help_is_in_the_chosen_language_wherever_the_option_stands(capsys):
    assert "训练模型" in run(capsys, "--lang", "zh", "--help")[1]
    assert "训练模型" in run(capsys, "--help", "--lang=zh")[1]
    assert "比较两份设置" in run(capsys, "config", "diff", "--lang", "zh", "--help")[1]
    assert os.environ["TUNERY_LANG"] == "zh"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "Did you mean train?"),
        (["xyz"], "Commands: web, train"),
        (["config", "shwo"], "Did you mean show?"),
        (["config", "diff", "lora"], "a value is missing"),
        (["config", "diff", "lora", "full", "more"], "'more': unexpected argument."),
        (["version", "--jsno"], "Did you mean --json?"),
        (["version", "--json=perhaps"], "--json: 'perhaps' is not valid; expected true or false."),
        (["--lang", "de", "version"], "--lang: 'de' is not supported."),
        (["--lang"], "is not supported"),
        (["config", "show", "--adapter.rank", "0"], "adapter.rank must be at least 1, got 0."),
        (["config", "diff", "lora", "nothing"], "'nothing': no such file, preset or run."),
        (["config", "help", "adaptr"], "Did you mean adapter?"),
        (["config", "show", "--orgins"], "Did you mean --origins?"),
    ],
)
def test_a_wrong_request_exits_2_with_a_sentence_and_what_to_do(capsys, words, said):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_an_error_has_a_line_that_says_what_to_do(capsys):
    _, _, err = run(capsys, "config", "show", "--adapter.rnk", "1")
    assert err == "adapter.rnk: no such setting.\nfix: Did you mean adapter.rank?\n"


def test_with_json_an_error_is_json_on_stdout_too(capsys):
    status, out, err = run(capsys, "config", "show", "--json", "--adapter.rank", "0")
    error = json.loads(out)
    assert status == 2
    assert error["error"] == "ConfigError"
    assert error["problems"][0]["setting"] == "adapter.rank"
    assert error["message"] in err


def test_debug_shows_the_whole_error():
    with pytest.raises(load.ConfigError):
        main(["config", "show", "--adapter.rank", "0", "--debug"])


def test_config_show_prints_settings_that_read_back(capsys, tmp_path: Path):
    status, out, _ = run(capsys, "config", "show", "--adapter.rank", "3")
    path = tmp_path / "x.yaml"
    path.write_text(out)
    assert status == 0
    assert load.load([path]).config == load.from_tokens(["--adapter.rank", "3"]).config


def test_config_show_says_where_values_come_from(capsys, tmp_path: Path, monkeypatch):
    path = tmp_path / "x.yaml"
    path.write_text("train:\n  seed: 7\n")
    monkeypatch.chdir(tmp_path)
    words = ["config", "show", "x.yaml", "--preset", "lora", "--adapter.rank", "3"]
    out = run(capsys, *words, "--origins")[1]
    rows = {line.split()[0]: line.rstrip() for line in out.splitlines() if line.strip()}
    assert rows["train.seed"].endswith("x.yaml line 2")
    assert "--adapter.rank" in rows["adapter.rank"]
    assert "preset lora" in rows["adapter.alpha"]
    found = json.loads(run(capsys, *words, "--json")[1])
    assert found["origins"]["train.seed"] == "x.yaml line 2"
    assert found["config"]["adapter"]["rank"] == 3


def test_config_show_prints_warnings_beside_the_settings(capsys):
    _, out, err = run(capsys, "config", "show", "--adapter", "full")
    assert "is unusual for adapter.type=full" in err
    assert "is unusual" not in out


def test_config_diff_compares_files_presets_and_runs(capsys, tmp_path: Path, home: Path):
    run_folder = home / "runs" / "tuna"
    run_folder.mkdir(parents=True)
    config = load.from_tokens(["--adapter.rank", "3"]).config
    load.write_frozen(run_folder / "config.yaml", config, {"tunery": "0.1.0"})
    path = tmp_path / "x.yaml"
    path.write_text("adapter: {rank: 5}\n")
    for left in ("tuna", str(run_folder), str(run_folder / "config.yaml")):
        found = json.loads(run(capsys, "config", "diff", left, str(path), "--json")[1])
        assert found == [{"path": "adapter.rank", "left": 3, "right": 5}]
    assert "No difference." in run(capsys, "config", "diff", "tuna", "tuna")[1]
    assert "adapter.type" in run(capsys, "config", "diff", "lora", "full")[1]


def test_config_help_explains_one_section_in_either_language(capsys):
    out = run(capsys, "config", "help", "data.replay")[1]
    assert "--data.replay.num_prompts" in out
    assert "--data.train" not in out
    assert "回放" in run(capsys, "config", "help", "data.replay", "--lang", "zh")[1]
    i18n.set_language(None)
    found = json.loads(run(capsys, "config", "help", "--json")[1])
    assert {"path", "type", "default", "help"} <= found[0].keys()


def test_config_schema_and_presets_answer_machines(capsys):
    made = json.loads(run(capsys, "config", "schema", "--lang", "zh")[1])
    assert made["properties"]["adapter"]["description"] == "训练哪些权重。"
    i18n.set_language(None)
    assert "identity" in json.loads(run(capsys, "config", "presets", "--json")[1])


@pytest.mark.parametrize("command", ["train", "plan"])
def test_help_of_train_and_plan_lists_every_setting(capsys, command: str):
    out = run(capsys, command, "--help")[1]
    assert "--optim.learning_rate" in out
    assert "--checkpoint.every_minutes" in out


def test_a_reader_that_goes_away_ends_the_command_quietly():
    words = [*COMMAND, "config", "schema"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.fixture
def heard_interrupts():
    """SIGINT ends children, even where the tests were started with it ignored (``make test &``)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c(process: subprocess.Popen[bytes]) -> None:
    """Press until it ends: CPython misses a signal that comes just before a read that blocks."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            return
    process.kill()


def test_an_interrupt_exits_130_without_a_traceback(heard_interrupts: None):
    words = [*COMMAND, "chat", "demo"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        # More than a pipe holds: returns when the command is reading, and it waits for the rest.
        process.stdin.write(b"word " * 100_000)
        process.stdin.flush()
        press_ctrl_c(process)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_sentence_and_exit_2():
    with Path("/dev/full").open("w") as full:
        words = [*COMMAND, "config", "schema"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "no space left on the disk" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_language_comes_from_the_environment():
    for name, value, expected in (
        ("TUNERY_LANG", "zh", "命令"),
        ("LANG", "zh_CN.UTF-8", "命令"),
        ("LANG", "en_US.UTF-8", "Commands"),
    ):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "TUNERY"))}
        environment = kept | {"PYTHONUTF8": "1", name: value}
        done = subprocess.run(
            [*COMMAND, "--help"], env=environment, capture_output=True, check=True
        )
        assert expected in done.stdout.decode()


def test_defaults_are_what_config_show_prints_for_nothing(capsys):
    assert run(capsys, "config", "show")[1] == load.dump(Config())


@pytest.mark.parametrize("words", [["--json"], ["--system", "s"], ["--device=cpu"], ["--help"]])
def test_an_option_is_not_taken_for_the_prompt(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "nothing", "--prompt", *words]) == 2
    said = capsys.readouterr().err
    assert "--prompt: a value is missing." in said
    assert "--prompt=VALUE" in said


@pytest.mark.parametrize(
    "words", [["--prompt=--json"], ["--prompt", "-5 degrees"], ["--prompt", "--no option"]]
)
def test_a_prompt_may_begin_with_dashes(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "nothing", *words]) == 2
    assert "no model, run or folder" in capsys.readouterr().err
