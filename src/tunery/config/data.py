"""Settings of the training rows: where they come from and how they become tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from tunery.config.base import Section

LossOn = Literal["assistant", "last", "all"]
TooLong = Literal["turns", "fail", "drop", "truncate_left", "truncate_right", "split"]
Thinking = Literal["keep", "strip_history", "off"]
SpecialTokens = Literal["text", "tokens"]


class ReplayConfig(Section):
    """General prompts answered by the base model and mixed in, so that nothing is forgotten."""

    num_prompts: int = Field(default=0, ge=0, le=10_000)
    """How many general prompts the base model answers before training, to be mixed in; 0 is off."""

    max_new_tokens: int = Field(default=48, ge=1, le=4096)
    """Longest answer of the base model to a replay prompt, in tokens."""

    prompts: str = "general"
    """Dataset whose first user messages are the replay prompts."""


class DataConfig(Section):
    """Which rows are trained on and how they are rendered, cut and packed."""

    train: list[str] = Field(default_factory=list)
    """Datasets to train on: catalog names, files, folders, hf:owner/name.

    FOLDER:validation names another split than train. NAME*2 takes every row twice an epoch."""

    format: str | None = None
    """Format of the rows (alpaca, sharegpt, openai, text, prompt_completion, preference, unpaired).

    By default it is found from the first rows."""

    columns: dict[str, str] = Field(default_factory=dict)
    """The columns to read, as ours: theirs; once one is named, no other is read."""

    catalog: Path | None = None
    """Folder with a LLaMA-Factory dataset_info.json whose names may be used in data.train."""

    encoding: str = "utf-8"
    """Text encoding of the files."""

    header: bool = True
    """Whether the first line of a csv or tsv file names the columns; else they are 1, 2, 3."""

    delimiter: str | None = None
    """What separates the cells of a csv or tsv file, such as ; or | or tab.

    By default it is found from the first lines."""

    records_at: str | None = None
    """Key under which a JSON file keeps its list of rows, such as data or result.rows."""

    max_record_mb: int = Field(default=64, ge=1, le=2_000)
    """Largest record that is read, in MB, whatever the kind of its file."""

    max_columns: int = Field(default=4_096, ge=1, le=1_000_000)
    """Most columns that a csv, tsv, Parquet or Arrow file may have."""

    role_map: dict[str, str] = Field(default_factory=dict)
    """What a role in the rows means, as theirs: ours (system, user, assistant, tool)."""

    parse: dict[str, Literal["json", "python"]] = Field(default_factory=dict)
    """Columns that hold a list or an object written as text, such as messages: json.

    python reads what Python prints, as pandas writes it into a csv file."""

    coerce: dict[str, Literal["text", "json"]] = Field(default_factory=dict)
    """Columns whose numbers or objects become text: as people write them, or as one JSON value."""

    allow_empty: list[str] = Field(default_factory=list)
    """Columns that may be empty, such as output."""

    merge_same_role: bool = False
    """Join two messages in a row by the same role into one, with a blank line between them."""

    deduplicate: bool = False
    """Leave out rows that stand in the files more than once; they are counted."""

    variables: dict[str, str] = Field(default_factory=dict)
    """What to put for each {{placeholder}} in the rows."""

    max_length: int = Field(default=2048, ge=8, le=4_194_304)
    """Longest row, in tokens; never more than the model has positions."""

    too_long: TooLong = "turns"
    """What to do with a longer row: drop whole early turns, or fail, drop, truncate or split it."""

    packing: bool = True
    """Put several short rows into one sequence without padding; they never see each other."""

    loss_on: LossOn = "assistant"
    """Which tokens are trained: every assistant answer, only the last one, or all tokens."""

    thinking: Thinking = "strip_history"
    """What happens to <think> text: keep it, strip it from earlier turns, or turn it off."""

    special_tokens: SpecialTokens = "text"
    """What <|im_end|> and its like are where rows spell them: text, letter by letter, or tokens."""

    on_bad_rows: Literal["stop", "quarantine"] = "stop"
    """A row that cannot be used stops the run, or is set aside in quarantine.jsonl and counted."""

    max_bad_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Largest share of rows that may be set aside before the run stops all the same."""

    accept: list[str] = Field(default_factory=list)
    """Warning codes of the checker that are known and accepted, such as W703."""

    max_samples: int | None = Field(default=None, ge=1)
    """Use at most this many rows of each dataset, a seeded sample."""

    replay: ReplayConfig = Field(default_factory=ReplayConfig)
    """General prompts answered by the base model and mixed in."""
