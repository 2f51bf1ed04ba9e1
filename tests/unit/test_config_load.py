"""Loading settings: layers, origins, flags, and a sentence for everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunery import i18n
from tunery.config import layers, load, rules
from tunery.config.config import Config
from tunery.errors import ConfigError, UnknownName


def settings(tmp_path: Path, text: str, name: str = "train.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(*words: str | Path, **how) -> str:
    """The whole message with what to do, for words that must be refused."""
    with pytest.raises(ConfigError) as caught:
        load.from_tokens([str(word) for word in words], **how)
    return str(caught.value)


def test_nothing_given_is_the_defaults():
    loaded = load.load()
    assert loaded.config == Config()
    assert set(loaded.origins.values()) == {"default"}


def test_flags_win_over_files_and_files_over_the_preset(tmp_path: Path):
    one = settings(tmp_path, "preset: lora\nadapter:\n  rank: 4\ntrain: {seed: 1}\n", "one.yaml")
    two = settings(tmp_path, "train: {seed: 2, batch_size: 4}\n", "two.yaml")
    loaded = load.load([one, two], ["--train.batch_size", "8"])
    config = loaded.config
    assert (config.adapter.rank, config.adapter.alpha) == (4, 32)  # type: ignore[union-attr]
    assert (config.train.seed, config.train.batch_size) == (2, 8)
    assert loaded.origins["adapter.rank"] == f"{one} line 3"
    assert loaded.origins["adapter.alpha"] == "preset lora"
    assert loaded.origins["train.seed"] == f"{two} line 1"
    assert loaded.origins["train.batch_size"] == "--train.batch_size"
    assert loaded.origins["train.num_epochs"] == "preset lora"
    assert loaded.origins["model.name"] == "default"


def test_a_preset_named_on_the_command_line_wins_over_the_one_in_the_file(tmp_path: Path):
    path = settings(tmp_path, "preset: lora\n")
    assert load.load([path], ["--preset", "full"]).config.adapter.type == "full"
    assert load.load([path], preset="full").config.preset == "full"


def test_every_preset_loads():
    for name in layers.preset_names():
        loaded = load.load(preset=name)
        assert loaded.config.preset == name
        assert layers.preset_about(name)


def test_a_setting_of_the_default_variant_needs_no_type():
    assert load.from_tokens(["--adapter.rank", "3"]).config.adapter.rank == 3  # type: ignore[union-attr]


def test_a_new_type_drops_the_lower_layers_settings_of_that_section(tmp_path: Path):
    path = settings(tmp_path, "adapter: {type: lora, rank: 4}\n")
    assert load.load([path], ["--adapter.type", "full"]).config.adapter.type == "full"
    again = load.load([path], ["--adapter.type", "lora"]).config.adapter
    assert again.rank == 4  # type: ignore[union-attr]


def test_short_forms_name_the_model_the_method_and_the_adapter(tmp_path: Path):
    path = settings(tmp_path, "model: some/model\nmethod: pretrain\nadapter: full\ndata:\n")
    config = load.load([path]).config
    assert (config.model.name, config.method.type, config.adapter.type) == (
        "some/model",
        "pretrain",
        "full",
    )
    config = load.from_tokens(["--model", "x", "--method=pretrain", "--adapter", "freeze"]).config
    assert (config.model.name, config.method.type, config.adapter.type) == (
        "x",
        "pretrain",
        "freeze",
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data.packing"], True),
        (["--data.no-packing"], False),
        (["--no-data.packing"], False),
        (["--data.packing", "false"], False),
        (["--data.packing=off"], False),
        (["--data.packing", "true", "--data.no-packing"], False),
    ],
)
def test_switches_are_written_in_the_usual_ways(words: list[str], expected: bool):
    assert load.from_tokens(words).config.data.packing is expected


@pytest.mark.parametrize(
    "words",
    [
        ["--data.train", "a,b"],
        ["--data.train", "a", "--data.train", "b"],
        ["--data.train", "[a, b]"],
        ["--data.train=[a,b]"],
    ],
)
def test_lists_are_written_in_the_usual_ways(words: list[str]):
    assert load.from_tokens(words).config.data.train == ["a", "b"]


def test_a_comma_in_a_prompt_is_part_of_it():
    words = ["--evaluate.prompts", "Hi, who are you?", "--evaluate.prompts", "[x"]
    assert load.from_tokens(words).config.evaluate.prompts == ["Hi, who are you?", "[x"]


def test_names_with_values_keep_what_was_written(tmp_path: Path):
    path = settings(tmp_path, "data: {variables: {name: 007, author: yes, year: 2e3}}\n")
    variables = load.load([path], ["--data.variables.my-key", "08"]).config.data.variables
    assert variables == {"name": "007", "author": "yes", "year": "2e3", "my-key": "08"}
    words = ["--data.variables", "{name: 1.10}"]
    assert load.from_tokens(words).config.data.variables == {"name": "1.10"}


def test_numbers_and_null_are_read_as_people_write_them():
    words = ["--optim.learning_rate", "5e-5", "--train.max_steps", "1e3", "--evaluate.every", "10"]
    words += ["--optim.betas", "0.9,0.95", "--checkpoint.every_minutes", "null"]
    config = load.from_tokens(words).config
    assert config.optim.learning_rate == 5e-5
    assert (config.train.max_steps, config.evaluate.every) == (1000, 10)
    assert config.optim.betas == (0.9, 0.95)
    assert config.checkpoint.every_minutes is None


def test_dashes_may_stand_for_underscores_and_files_for_themselves(tmp_path: Path):
    path = settings(tmp_path, "train: {seed: 3}\n")
    loaded = load.from_tokens(["--optim.learning-rate", "1e-3", str(path), "--data.packing"])
    assert (loaded.config.optim.learning_rate, loaded.config.train.seed) == (1e-3, 3)


def test_a_message_has_the_line_the_bound_and_what_was_found(tmp_path: Path):
    path = settings(tmp_path, "model: demo\nadapter:\n  type: lora\n  rank: 0\n")
    assert refused(path) == f"{path} line 4: adapter.rank must be at least 1, got 0."


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--adapter.rnk", "adapter.rnk: no such setting. Did you mean adapter.rank?"),
        ("--rank", "rank: no such setting. Did you mean adapter.rank?"),
        ("--learning_rate", "Did you mean optim.learning_rate?"),
        ("--lr", "lr: no such setting. Use optim.learning_rate instead."),
        ("--cutoff_len", "Use data.max_length instead."),
        ("--lora_rank", "Use adapter.rank instead."),
        ("--quantization_bit", "Set quantization.type: nf4 or fp4 for 4 bits per weight"),
        ("--load_in_4bit", "QLoRA is nf4 with an adapter"),
        ("--bnb_4bit_use_double_quant", "Use quantization.double_quantization instead."),
        ("--num_train_epochs", "Use train.num_epochs instead."),
        ("--per_device_train_batch_size", "Set train.batch_size"),
        (
            "--output_dir",
            "Each run has its own folder under TUNERY_HOME/runs; set its name with --name",
        ),
        ("--bf16", "Set model.dtype"),
        (
            "--hf_token",
            "Secrets belong in environment variables",
        ),
        ("--optim.optim", "optim.optim: no such setting. Did you mean optim.type?"),
        ("--train.optim", "train.optim: no such setting. Did you mean optim.type?"),
        ("--train", "train: this is a group of settings. Did you mean data.train?"),
        (
            "--checkpoint",
            "Set one of them, such as checkpoint.every: tunery config help checkpoint",
        ),
        ("--use_galore", "Set optim.type=galore."),
        ("--galore_rank", "Use optim.projection_rank instead."),
        ("--report_to", "Each tracker is enabled by its own section: tunery config help track"),
        ("--logging_steps", "Every step is logged and plotted; remove it."),
        ("--zzzz", "tunery config help"),
        ("--detatch", "--detatch: no such option. Did you mean --detach?"),
    ],
)
def test_an_unknown_setting_gets_its_nearest_name(word: str, said: str):
    message = refused(word, "abc", options=["--detach", "--name"])
    assert said in message
    assert "abc" not in message


def test_a_setting_of_another_variant_names_it():
    assert refused("--adapter", "full", "--adapter.rank", "8").startswith(
        "adapter.rank: only adapter.type=lora or vera has this setting; this run uses "
        "adapter.type=full."
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--adapter.rank", "x"], 'adapter.rank must be a whole number (>= 1, <= 4096), got "x".'),
        (["--optim.learning_rate", "2"], "optim.learning_rate must be at most 1"),
        (["--optim.learning_rate", ".inf"], "optim.learning_rate must be"),
        (["--optim.schedule", "cosin"], "Did you mean cosine?"),
        (["--optim", "paged_adamw_8bit"], "Set optim.type=adamw_8bit optim.paged=true."),
        (["--optim.type", "adamw_torch"], "Set optim.type=adamw."),
        (["--adapter", "lorra"], "adapter.type must be one of lora, full, freeze, vera, oft, got"),
        (["--data.packing=perhaps"], "data.packing must be true or false"),
        (["--evaluate.every", "0"], "evaluate.every must be epoch, never or a whole number"),
        (["--optim.betas", "0.9"], "optim.betas must be a list of 2 numbers"),
        (["--train.seed"], "--train.seed: a value is missing; expected a whole number."),
        (["--train.seed", "--data.packing"], "--train.seed=VALUE"),
        (["-x"], "-x: no such option."),
        (["--data.variables", "[a]"], "{name: Tuna}"),
        (["--data.train.0", "a"], "pass the full list"),
        (["missing.yaml"], "missing.yaml: no such file."),
        (["--model.device", "gpu"], "model.device must be auto, cpu, mps, cuda or cuda:N"),
    ],
)
def test_a_wrong_value_says_what_was_expected(words: list[str], said: str):
    assert said in refused(*words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {seed: true}", "train.seed must be a whole number"),
        ("train: {seed: 1.5}", "train.seed must be a whole number"),
        ("data: {train: identity}", "data.train must be a list of text"),
        ("data: {train: [{a: 1}]}", "data.train.0 must be text"),
        ("data: {variables: [a]}", "data.variables must be names with text"),
        ("data: {parse: {a: yaml}}", "data.parse.a must be one of json, python"),
        ("data: 5", "data must be a group of settings"),
        ("data: {max_length: [1]}", "data.max_length must be a whole number"),
        ("preset: {a: 1}", "preset must be a name"),
    ],
)
def test_a_value_of_the_wrong_kind_in_a_file_says_so(tmp_path: Path, text: str, said: str):
    message = refused(settings(tmp_path, text))
    assert said in message
    assert message.startswith(f"{tmp_path}") or "preset" in message


def test_all_problems_are_said_at_once(tmp_path: Path):
    path = settings(
        tmp_path, "adapter: {rank: 0}\noptim: {learning_rate: fast}\ntrian: {seed: 1}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load.load([path], ["--data.max_length", "1", "--lr", "3"])
    problems = caught.value.fields["problems"]
    assert {p["setting"] for p in problems} == {
        "adapter.rank",
        "optim.learning_rate",
        "trian",
        "data.max_length",
        "lr",
    }
    assert len(caught.value.message.splitlines()) == 5


def test_a_secret_in_a_value_is_refused_and_not_repeated(tmp_path: Path):
    token = "hf_" + "A1b2C3d4E5" * 3
    message = refused(settings(tmp_path, f"data: {{variables: {{name: {token}}}}}"))
    assert "looks like a secret" in message
    assert token not in message
    assert token not in refused("--adapter.rank", token)


def test_settings_that_are_named_like_secrets_are_allowed():
    words = ["--train.micro_batch_tokens", "512", "--evaluate.max_new_tokens", "8"]
    assert load.from_tokens(words).config.train.micro_batch_tokens == 512


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(UnknownName) as caught:
        load.load(preset="lorra")
    assert "Did you mean lora?" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "pretrain", "--model.template", "chatml"], "plain text has no template"),
        (["--method", "pretrain", "--data.loss_on", "last"], "every token is trained"),
        (
            ["--method", "pretrain", "--data.replay.num_prompts", "3"],
            "cannot be combined with method.type=pretrain",
        ),
        (["--evaluate.split", "0.1", "--evaluate.datasets", "a"], "mutually exclusive"),
        (["--evaluate.patience", "2"], "evaluate.patience needs evaluations; this run has none"),
        (
            ["--evaluate.patience", "2", "--evaluate.split", "0.1", "--evaluate.every", "never"],
            "evaluate.patience needs evaluations; this run has none",
        ),
        (["--optim.warmup_steps", "5", "--optim.warmup_ratio", "0.1"], "mutually exclusive"),
        (["--adapter.target_modules", "[]"], "no weight would be trained"),
        (["--optim.betas", "0.9,1.0"], "optim.betas must be 2 numbers"),
        (["--data.encoding", "utf-99"], "data.encoding: unknown encoding"),
        (["--data.accept", "E301"], "only W codes can be accepted"),
        (["--data.accept", "twins"], "is not a check code, such as W703"),
    ],
)
def test_settings_that_exclude_or_need_each_other_are_refused(words: list[str], said: str):
    assert said in refused(*words)


def test_a_higher_layers_warmup_steps_replace_a_lower_layers_ratio(tmp_path: Path):
    path = settings(tmp_path, "optim: {warmup_ratio: 0.2}\nevaluate: {split: 0.1}\n")
    words = ["--optim.warmup_steps", "5", "--evaluate.datasets", "held"]
    config = load.load([path], words).config
    assert (config.optim.warmup_steps, config.optim.warmup_ratio) == (5, 0.05)
    assert (config.evaluate.datasets, config.evaluate.split) == (["held"], 0.0)


def test_a_run_needs_training_data():
    with pytest.raises(ConfigError, match=r"data\.train is empty"):
        rules.check(Config())
    rules.check(load.load(preset="identity").config)


def test_an_unusual_learning_rate_is_a_warning_and_no_error():
    said = "is unusual for adapter.type=full with method.type=sft; 1e-05 to 5e-05 is usual"
    assert said in load.from_tokens(["--adapter", "full"]).warnings[0]
    words = ["--optim.learning_rate", "1e-6"]
    assert "0.0001 to 0.001 is usual" in load.from_tokens(words).warnings[0]
    assert load.load(preset="full").warnings == ()


def test_a_default_rate_lower_than_usual_is_told():
    """The default suits LoRA; VeRA trains vectors alone, which need more."""
    (said,) = load.from_tokens(["--adapter", "vera"]).warnings
    assert "0.001 to 0.01 is usual" in said
    assert load.from_tokens(["--adapter", "vera", "--optim.learning_rate", "5e-4"]).warnings == ()


def test_messages_are_in_chinese_when_asked(tmp_path: Path):
    path = settings(tmp_path, "adapter:\n  rank: 0\n  rnk: 2\n")
    i18n.set_language("zh")
    message = refused(path)
    assert f"{path} 第 2 行：adapter.rank 必须是不小于 1 的数，得到的是 0。" in message
    assert "你是不是想写 adapter.rank？" in message


@pytest.mark.parametrize(
    ("given", "folder", "origins"),
    [
        (["--track.tensorboard"], None, ("--track.tensorboard", "default")),
        (["--track.tensorboard", "true"], None, ("--track.tensorboard", "default")),
        (
            ["--track.tensorboard.folder", "x", "--track.tensorboard"],
            Path("x"),
            ("--track.tensorboard", "--track.tensorboard.folder"),
        ),
        ("track: {tensorboard: {}}", None, ("here line 1", "default")),
        ("track: {tensorboard: true}", None, ("here line 1", "default")),
        ("track.tensorboard.folder: 007", Path("007"), ("here", "here line 1")),
    ],
)
def test_an_optional_section_is_switched_on(given, folder: Path | None, origins):
    loaded = load.from_text(given, "here") if isinstance(given, str) else load.from_tokens(given)
    assert loaded.config.track.tensorboard is not None
    assert loaded.config.track.tensorboard.folder == folder
    paths = ("track.tensorboard", "track.tensorboard.folder")
    assert tuple(loaded.origins[path] for path in paths) == origins


@pytest.mark.parametrize("value", ["null", "false"])
def test_an_optional_section_is_switched_off_by_what_comes_later(tmp_path: Path, value: str):
    file = tmp_path / "on.yaml"
    file.write_text("track: {tensorboard: {folder: boards}}\n")
    off = tmp_path / "off.yaml"
    off.write_text(f"track: {{tensorboard: {value}}}\n")
    for words in (["--track.tensorboard", value], [f"--track.tensorboard={value}"], [str(off)]):
        loaded = load.from_tokens([str(file), *words])
        assert loaded.config.track.tensorboard is None
        assert "track.tensorboard.folder" not in loaded.origins
    assert load.from_tokens([str(file), "--no-track.tensorboard"]).config.track.chosen() == {}
    again = load.from_tokens([str(off), str(file)]).config.track.tensorboard
    assert again is not None
    assert again.folder == Path("boards")


def test_a_frozen_file_given_as_settings_leaves_an_optional_section_off(tmp_path: Path):
    file = tmp_path / "config.yaml"
    for words in ([], ["--track.tensorboard.folder", "x"]):
        made = load.from_tokens(words).config
        load.write_frozen(file, made, {})
        assert load.read_frozen(file) == load.load([file]).config == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("track: {tensorboard: 5}", "track.tensorboard must be true or false, got 5."),
        ("track: {tensorboard: {foldr: x}}", "Did you mean track.tensorboard.folder?"),
        ("track: {tensorboard: {folder: [5]}}", "track.tensorboard.folder must be a path or null"),
    ],
)
def test_a_mistake_in_an_optional_section_has_its_line_and_what_was_expected(text: str, said: str):
    with pytest.raises(ConfigError) as caught:
        load.from_text(text, "here")
    assert said in f"{caught.value.message} {caught.value.fix}"
    assert "here line 1" in caught.value.message


@pytest.mark.parametrize(
    ("name", "word", "said"),
    [
        ("--adapter", "qlora", "QLoRA is nf4 with an adapter"),
        ("--quantization", "int4", "Use nf4 for 4 bits per weight"),
        ("--quantization.type", "gptq", "Use nf4 for 4 bits per weight"),
        ("--quantization", "nf5", "Did you mean nf4?"),
    ],
)
def test_a_quantization_of_another_tool_gets_ours(name: str, word: str, said: str):
    assert said in refused(name, word)
