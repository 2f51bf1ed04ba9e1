"""Requests that are refused or warned of, each with the sentence that says what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.golden.bad_data_cases import CASES, alpaca, chat, jsonl

OTHER_TEMPLATE = "Choose another template with model.template."
TOOLS = "Choose a template with tools with model.template: {names}."
BEGINNING = (
    "Change the messages (roles, their order, the system message), or choose another template with "
    "model.template."
)
EMPTY_ANSWER = (
    "The model would learn to say nothing. Remove the row, or allow it with --data.allow_empty "
    "{column}."
)
EMPTY_PROMPT = (
    "The prompt would be empty. Fill it in, remove the row, or allow it with "
    "--data.allow_empty {column}."
)
ENCODING = "Save it as UTF-8, or set --data.encoding {codec}."
HEADER = "{fix} If the file has no header: --data.header false; its columns are 1, 2, 3."
FORMAT = (
    "Set the format and its columns: --data.format alpaca --data.columns.instruction "
    "THEIRS --data.columns.output THEIRS, where THEIRS is one of {columns}; or, to train "
    "on all text in a column: --data.format text --data.columns.text THEIRS."
)
TWO_COLUMNS = (
    "If {output} has the answers: --data.format alpaca --data.columns.instruction {instruction} "
    "--data.columns.output {output}; or, to train on all text in a column: --data.format text "
    "--data.columns.text {output}."
)
BLANKS = 'Fill them in: --data.variables.{name} "...", or keep them as text: --data.accept W706.'
BLANKS_RUN = "Set {settings}, or pass: {flags} (to train on them as they are: --data.accept W706)"
LABEL = (
    "Remove the row; or learn from both labels with --data.format unpaired and "
    "--method.type kto. If the column means something else, rename it."
)
NOTHING_TRAINED = (
    "Change data.loss_on, or remove the marks (train, weight, loss) of the messages that the model "
    "should learn."
)
ALL_CUT = "Set data.max_length higher, or choose another data.too_long."
TOO_LONG = (
    "Set data.max_length to {length} or more, if the model supports that length, or "
    "choose another data.too_long."
)
MISSING = (
    "They are trained on as text. Leave the cells empty; or, if the words are intended, "
    "--data.accept W714."
)
RENDERED = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>"
SPELLED = (
    "If another tool wrote it as a real token, set --data.special_tokens tokens; "
    "otherwise remove it."
)
UNUSED = (
    "Once columns are named, only those are read. If this one is needed, name it too: "
    "--data.columns.{column} {column}."
)
UNREAD = "If one is needed, name it with --data.columns; otherwise --data.accept W725."
KEYS = "Keys inside messages cannot be read. To accept that: --data.accept W725."
WEIGHING = "If it weighs the rows: {flags}; otherwise --data.accept W718."
WEIGHTLESS = (
    "Rows of format {format} have no weight. To train some of them more often, move them to a file "
    "of their own and repeat it: FILE*2. To train on all rows alike, --data.accept W718."
)
CLASSES = (
    "If {column} marks good and bad answers: --data.format unpaired and --method.type kto; "
    "otherwise --data.accept W725."
)
MEDIA = (
    "Choose a text dataset. If the text makes sense on its own, name the columns to read "
    "(--data.columns) and remove marks such as <image>."
)
ALIKE = "Set evaluate.split to 0; to evaluate on other rows, set evaluate.datasets."


@dataclass(frozen=True)
class Case:
    """One piece of advice, applied.

    Args:
        sentence: As it stands in the code.
        content: The rows.
        given: Flags of the request.
        answers: Settings that the sentence names, with what a person puts for THEIRS, "..." or
            where no value stands.
        only: Of several ways out, the settings of this one; empty for all that have a value.
        file: The file's name.
        edited: The rows as the sentence wants them, where it says what to do with them first.
    """

    sentence: str
    content: bytes | Callable[[Path], None]
    given: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    file: str = "rows.jsonl"
    edited: bytes | None = None

    @property
    def id(self) -> str:
        """A name for the test."""
        ways = ",".join([*self.answers, *self.only])
        return f"{self.sentence[:60]} {ways}"


def bad(id_: str) -> Any:
    """A case of the table of bad inputs."""
    (found,) = (case for case in CASES if case.id == id_)
    return found


def of(id_: str, sentence: str, **more: Any) -> Case:
    """The same input, and a sentence that is said of it."""
    case = bad(id_)
    given = {f"data.{k}": v for k, v in case.options.items() if k != "wanted"}
    return Case(sentence, case.content, {**given, **more.pop("given", {})}, file=case.file, **more)


TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
WITH_TOOLS = jsonl({**chat(("user", "q"), ("assistant", "a")), "tools": [TOOL]})
LONG = jsonl(chat(("user", "q " * 60), ("assistant", "a")))
ASKED = {"role": "user", "content": "q"}
UNTRAINED = jsonl({"messages": [ASKED, {"role": "assistant", "content": "a", "train": False}]})
RANKED = jsonl(*({"prompt": f"p {i}", "chosen": "c", "rejected": "r"} for i in range(3)))
BESIDE = jsonl(*(alpaca(i, rejected_response=f"bad {i}") for i in range(3)))

LOOP = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
)
ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
BY_TURNS = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}"
FAILS = "{% if messages|length > 2 %}{{ 1 // 0 }}{% endif %}"
NO_SYSTEM = LOOP.replace("in messages", "in messages if m.role != 'system'")
OTHER_ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>ai\\n' }}{% endif %}"
FOUR = jsonl(chat(("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")))
GREETED = jsonl(chat(("assistant", "hi"), ("user", "q"), ("assistant", "a")))


def by(template: str, rows: bytes, sentence: str) -> Case:
    """Rows that a template file cannot write, and a template that can."""

    def write(path: Path) -> None:
        path.write_bytes(rows)
        path.with_name("own.jinja").write_text(template)

    return Case(sentence, write, {"model.template": "own.jinja"}, {"model.template": "chatml"})


def _registry(path: Path) -> None:
    path.with_name("dataset_info.json").write_text(json.dumps({"mine": {"file_name": "a.json"}}))
    path.with_name("a.json").write_text(json.dumps([alpaca(1)]))


CASES_OF_ADVICE: tuple[Case, ...] = (
    Case(
        "To train on every token of the conversation, set --data.loss_on all. If this is "
        "intended, --data.accept W729.",
        jsonl(chat(("user", "q"), ("assistant", "a"))),
        given={"method.type": "pretrain"},
        only=("data.loss_on",),
    ),
    Case(
        "If this is intended, set --method.type pretrain, or --data.accept W730.",
        jsonl({"text": "every word of this"}, {"text": "and of that"}),
        only=("method.type",),
    ),
    of("C11", ENCODING),
    of("C12", ENCODING),
    of("C13", "Save the file as UTF-8, or set --data.encoding {encoding}."),
    of(
        "F15",
        "The file is UTF-8: remove --data.encoding.",
        given={"data.encoding": "utf-32"},
        answers={"data.encoding": "utf-8"},
    ),
    of("C19", "Set --data.records_at {key}."),
    of(
        "C19",
        "Set --data.records_at to the key that holds the list of rows.",
        given={"data.records_at": "nothing"},
        answers={"data.records_at": "data"},
    ),
    of(
        "C37",
        HEADER,
        answers={"data.columns.instruction": "1", "data.columns.output": "3"},
        only=("data.format", "data.header"),
    ),
    of("C39", "Did you mean --data.format {format}?", given={"method.type": "pretrain"}),
    Case(
        FORMAT,
        jsonl(*({"frage": f"q {i}", "antwort": "a", "art": "x"} for i in range(2))),
        answers={"data.columns.instruction": "frage", "data.columns.output": "antwort"},
        only=("data.format",),
    ),
    Case(
        TWO_COLUMNS,
        jsonl({"frage": "q", "antwort": "a"}, {"frage": "r", "antwort": "b"}),
        answers={"data.columns.instruction": "frage", "data.columns.output": "antwort"},
        only=("data.format",),
    ),
    Case(
        "Some column names begin or end with a space. Remove it, or set the format and the "
        "columns, likely: {flags}.",
        jsonl({" prompt": "q", "completion ": "a"}, {" prompt": "r", "completion ": "b"}),
        answers={"data.columns.instruction": " prompt", "data.columns.output": "completion "},
    ),
    Case(
        "Choose the column: {flags}. Available: {columns}.",
        jsonl({"frage": "q", "antwort": "a"}, {"frage": "r", "antwort": "b"}),
        {"data.format": "alpaca"},
        {"data.columns.instruction": "frage", "data.columns.output": "antwort"},
    ),
    Case(
        "Write the names of the columns in the first line. If the file has no header: "
        "--data.header false; its columns are 1, 2, 3.",
        b",,\na,b,c\n",
        file="rows.csv",
    ),
    of("F03", EMPTY_ANSWER),
    Case(
        EMPTY_PROMPT,
        jsonl({"messages": [{**ASKED, "content": ""}, {"role": "assistant", "content": "a"}]}),
    ),
    of("M02", "Join them with a blank line: --data.merge_same_role true; or correct the row."),
    of("M06", "Set {flag}."),
    Case(
        "Correct it, or set what it means: {flag}.",
        jsonl(
            {"messages": [{"role": "bot", "content": "a"}, ASKED, {"role": "bot", "content": "b"}]}
        ),
        answers={"data.role_map.bot": "assistant"},
    ),
    Case(
        "Correct them, or set what they mean: {flags}.",
        jsonl({"messages": [{"role": "Kunde", "content": "a"}, {"role": "bot", "content": "b"}]}),
        answers={"data.role_map.Kunde": "user", "data.role_map.bot": "assistant"},
    ),
    of("M12", "Set --data.parse.{column} json."),
    of("F15", "Keep them all, or set --data.deduplicate true."),
    of(
        "F17",
        BLANKS,
        answers={"data.variables.name": "Tuna", "data.variables.company": "T"},
    ),
    of("F17", BLANKS, only=("data.accept",)),
    of("F17", BLANKS_RUN, answers={"data.variables.name": "Tuna"}),
    of("F17", BLANKS_RUN, only=("data.accept",)),
    of("C35", MISSING),
    Case(SPELLED, jsonl({"text": RENDERED}, {"text": RENDERED + "!"}), {"method.type": "pretrain"}),
    Case(SPELLED, jsonl(alpaca(1, output="I am<|endoftext|> done"))),
    Case(
        UNUSED,
        jsonl(*(alpaca(i, input="more") for i in range(3))),
        {"data.columns": {"instruction": "instruction", "output": "output"}},
    ),
    Case(
        "Set the delimiter: --data.delimiter {delimiter}.",
        b"prompt^completion\na^b\nc^d\n",
        file="rows.csv",
    ),
    Case(
        WEIGHING,
        jsonl(*(alpaca(i, loss_weight=2) for i in range(3))),
        answers={"data.columns.weight": "loss_weight"},
        only=("data.columns",),
    ),
    Case(WEIGHING, jsonl(*(alpaca(i, loss_weight=2) for i in range(3))), only=("data.accept",)),
    Case(WEIGHTLESS, jsonl({"text": "a b", "weight": 2}), {"method.type": "pretrain"}),
    Case(UNREAD, jsonl(*(alpaca(i, source="x") for i in range(3)))),
    Case(KEYS, jsonl({"messages": [ASKED, {"role": "assistant", "content": "a", "score": 3}]})),
    Case(CLASSES, jsonl(*(alpaca(i, label=i) for i in range(3))), only=("data.accept",)),
    Case(CLASSES, jsonl(alpaca(0, label="good")), only=("data.format", "method.type")),
    Case(
        LABEL,
        jsonl(*(chat(("user", f"q {i}"), ("assistant", "a"), label=i % 2 == 0) for i in range(4))),
        {"data.format": "openai"},
    ),
    Case(
        "To learn from both: --data.format preference and --method.type dpo.",
        jsonl(
            *(chat(("user", f"q {i}"), ("assistant", "a"), rejected_response="b") for i in range(3))
        ),
        {"data.format": "openai"},
    ),
    Case(
        "Add the column prompt, or name it: --data.columns.prompt THEIRS.",
        jsonl(*({"frage": f"q {i}", "chosen": "c", "rejected": "r"} for i in range(3))),
        {"method.type": "dpo"},
        {"data.columns.prompt": "frage"},
    ),
    by(BY_TURNS + LOOP + ASKS, GREETED, BEGINNING),
    by(FAILS + LOOP + ASKS, FOUR, OTHER_TEMPLATE),
    by(
        "{% if %}",
        FOUR,
        "Correct the Jinja source, or choose another template with model.template.",
    ),
    by(
        NO_SYSTEM + ASKS,
        jsonl(chat(("system", "s"), ("user", "q"), ("assistant", "a"))),
        "Move it into the first user message, or choose another template with model.template.",
    ),
    by(LOOP + OTHER_ASKS, FOUR, "Choose a built-in template with model.template."),
    Case(
        "Remove model.template to use the model's own, or choose alpaca.",
        FOUR,
        {"model.template": "llama3"},
        {"model.template": "alpaca"},
    ),
    Case(
        "Use the name of one of them and add --data.catalog {parent}",
        _registry,
        answers={"data.train": "mine"},
        file="dataset_info.json",
    ),
    Case(TOOLS, WITH_TOOLS, answers={"model.template": "qwen2.5"}),
    Case(
        "To write them as text in the model's own template: --model.template own+hermes.",
        WITH_TOOLS,
    ),
    Case(
        TOO_LONG, LONG, {"data.max_length": 64, "data.too_long": "fail"}, only=("data.max_length",)
    ),
    Case(
        TOO_LONG,
        LONG,
        {"data.max_length": 64, "data.too_long": "fail"},
        {"data.too_long": "truncate_left"},
        only=("data.too_long",),
    ),
    Case(NOTHING_TRAINED, UNTRAINED, answers={"data.loss_on": "all"}),
    Case(
        ALL_CUT,
        LONG,
        {"data.max_length": 64, "data.too_long": "drop"},
        {"data.max_length": 2048},
    ),
    Case(
        ALL_CUT,
        LONG,
        {"data.max_length": 64, "data.too_long": "drop"},
        {"data.too_long": "truncate_left"},
    ),
    Case(
        "Correct them, or set data.max_bad_share higher.",
        jsonl(alpaca(1), {"instruction": "q"}),
        {"data.on_bad_rows": "quarantine"},
        {"data.max_bad_share": 0.5},
    ),
    Case(
        ALIKE,
        jsonl(alpaca(1)),
        {"evaluate.split": 0.1},
        {"evaluate.split": 0},
        only=("evaluate.split",),
    ),
    Case(
        "Set evaluate.split lower.",
        jsonl(*(alpaca(i) for i in range(4))),
        {"evaluate.split": 0.9},
        {"evaluate.split": 0.3},
    ),
    Case(
        "To use every linear layer: --adapter.target_modules all-linear.",
        jsonl(alpaca(1)),
        {"adapter.type": "lora", "adapter.target_modules": ["all"]},
    ),
    Case(
        "Lower adapter.rank, or set adapter.init to default.",
        jsonl(alpaca(1)),
        {"adapter.init": "pissa", "adapter.rank": 4000},
        answers={"adapter.init": "default"},
    ),
    Case(
        "Set adapter.num_layers to at most {count}.",
        jsonl(alpaca(1)),
        {"adapter.type": "freeze", "adapter.num_layers": 99},
        {"adapter.num_layers": 1},
    ),
    Case(
        "Set data.replay.num_prompts to at most {count}, or set data.replay.prompts to a "
        "larger dataset.",
        jsonl(alpaca(1)),
        {"data.replay.num_prompts": 5000},
        {"data.replay.num_prompts": 2},
        only=("data.replay.num_prompts",),
    ),
    of("P06", "Train with {flags}. {instead}", answers={"method.type": "dpo"}),
    of("P06", "To learn only from the chosen answers, set {way}."),
    Case(
        "Remove it. What happens to <think> text is set by data.thinking.",
        jsonl(alpaca(1, chat_template_kwargs={"enable_thinking": False})),
        answers={"data.thinking": "off"},
        edited=jsonl(alpaca(1)),
    ),
    Case(
        MEDIA,
        jsonl(alpaca(1, images=["a.png"])),
        answers={"data.columns": {"instruction": "instruction", "output": "output"}},
    ),
    Case(
        "Use --model.device auto or cpu. In a container: start it with --gpus all.",
        jsonl(alpaca(1)),
        {"model.device": "cuda"},
    ),
)
