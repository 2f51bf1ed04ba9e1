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
    """General prompts with answers of the base model, mixed in to reduce forgetting."""

    num_prompts: int = Field(default=0, ge=0, le=10_000)
    """Number of general prompts to mix in, answered by the base model; 0 turns it off."""

    max_new_tokens: int = Field(default=48, ge=1, le=4096)
    """Maximum length of a replay answer of the base model, in tokens."""

    prompts: str = "general"
    """Dataset whose first user messages are used as replay prompts."""


class DataConfig(Section):
    """Rows to train on, and how they are rendered, truncated and packed."""

    train: list[str] = Field(default_factory=list)
    """Datasets to train on: catalog names, files, folders, hf:owner/name.

    FOLDER:validation selects a split other than train. NAME*2 uses every row twice per epoch."""

    format: str | None = None
    """Format of the rows (alpaca, sharegpt, openai, text, prompt_completion, preference, unpaired).

    Detected from the first rows by default."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Columns to read, as ours: theirs; once one is named, only named columns are read."""

    catalog: Path | None = None
    """Folder with a LLaMA-Factory dataset_info.json whose datasets can be used in data.train."""

    encoding: str = "utf-8"
    """Text encoding of the files."""

    header: bool = True
    """Whether the first line of a csv or tsv file has column names; if not, they are 1, 2, 3."""

    delimiter: str | None = None
    """Cell delimiter of a csv or tsv file, such as ; or | or tab.

    Detected from the first lines by default."""

    records_at: str | None = None
    """JSON key that holds the list of rows, such as data or result.rows."""

    max_record_mb: int = Field(default=64, ge=1, le=2_000)
    """Maximum size of a record in MB, for every file type."""

    max_columns: int = Field(default=4_096, ge=1, le=1_000_000)
    """Maximum number of columns of a csv, tsv, Parquet or Arrow file."""

    role_map: dict[str, str] = Field(default_factory=dict)
    """How roles in the rows are mapped, as theirs: ours (system, user, assistant, tool)."""

    parse: dict[str, Literal["json", "python"]] = Field(default_factory=dict)
    """Columns that contain a list or an object as text, such as messages: json.

    python parses Python literals, as pandas writes them to csv files."""

    coerce: dict[str, Literal["text", "json"]] = Field(default_factory=dict)
    """Columns whose numbers or objects are converted to text or to JSON."""

    allow_empty: list[str] = Field(default_factory=list)
    """Columns that may be empty, such as output."""

    merge_same_role: bool = False
    """Merge consecutive messages of the same role into one, separated by a blank line."""

    deduplicate: bool = False
    """Remove rows that appear more than once; they are counted."""

    variables: dict[str, str] = Field(default_factory=dict)
    """Value for each {{placeholder}} in the rows."""

    max_length: int = Field(default=2048, ge=8, le=4_194_304)
    """Maximum length of a row in tokens; never more than the model's positions."""

    too_long: TooLong = "turns"
    """What to do with longer rows: drop the earliest turns, fail, drop, truncate or split."""

    packing: bool = True
    """Pack short rows into one sequence without padding; rows never attend to each other."""

    loss_on: LossOn = "assistant"
    """Which tokens are trained on: every assistant answer, only the last one, or all tokens."""

    thinking: Thinking = "strip_history"
    """What happens to <think> text: keep it, strip it from earlier turns, or turn it off."""

    special_tokens: SpecialTokens = "text"
    """How control tokens such as <|im_end|> in rows are encoded: as plain text, or as tokens."""

    on_bad_rows: Literal["stop", "quarantine"] = "stop"
    """Whether a bad row stops the run, or is set aside in quarantine.jsonl and counted."""

    max_bad_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Maximum share of rows that may be set aside before the run stops anyway."""

    accept: list[str] = Field(default_factory=list)
    """Accepted warning codes of the data check, such as W703."""

    max_samples: int | None = Field(default=None, ge=1)
    """Use at most this many rows of each dataset, sampled by seed."""

    replay: ReplayConfig = Field(default_factory=ReplayConfig)
    """General prompts answered by the base model and mixed in."""
