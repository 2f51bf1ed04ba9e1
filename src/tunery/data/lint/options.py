"""The settings of a check: how files and rows are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tunery.data.formats.base import RowOptions
from tunery.data.llamafactory import ALPACA
from tunery.data.sources.base import DEFAULT_COLUMNS, DEFAULT_RECORD_MB, ReadOptions
from tunery.types import is_list

if TYPE_CHECKING:
    from tunery.config.data import DataConfig, LossOn
    from tunery.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Settings of one check; those not listed are the ``data`` settings of the same name.

    Args:
        format: Format of the rows; None detects it from the first rows.
        columns: Our field name -> column in the data.
        accept: Codes of warnings that are not reported.
        progress: Called with (rows so far, bytes so far, total bytes).
        wanted: The row kind that the run's method needs; None accepts any.
    """

    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    encoding: str = "utf-8"
    records_at: str | None = None
    header: bool = True
    delimiter: str | None = None
    max_record_mb: int = DEFAULT_RECORD_MB
    max_columns: int = DEFAULT_COLUMNS
    role_map: Mapping[str, str] = field(default_factory=dict[str, str])
    parse: Mapping[str, str] = field(default_factory=dict[str, str])
    coerce: Mapping[str, str] = field(default_factory=dict[str, str])
    allow_empty: tuple[str, ...] = ()
    merge_same_role: bool = False
    special_tokens: str = "text"
    deduplicate: bool = False
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    loss_on: LossOn = "assistant"
    accept: tuple[str, ...] = ()
    progress: Callable[[int, int, int], None] | None = None
    wanted: str | None = None

    @classmethod
    def of(
        cls,
        config: DataConfig,
        *,
        progress: Callable[[int, int, int], None] | None = None,
        wanted: str | None = None,
    ) -> CheckOptions:
        """The options of a run with this config."""
        return cls(
            format=config.format,
            columns=config.columns,
            encoding=config.encoding,
            records_at=config.records_at,
            header=config.header,
            delimiter=config.delimiter,
            max_record_mb=config.max_record_mb,
            max_columns=config.max_columns,
            role_map=config.role_map,
            parse=config.parse,
            coerce=config.coerce,
            allow_empty=tuple(config.allow_empty),
            merge_same_role=config.merge_same_role,
            special_tokens=config.special_tokens,
            deduplicate=config.deduplicate,
            variables=config.variables,
            loss_on=config.loss_on,
            accept=tuple(config.accept),
            progress=progress,
            wanted=wanted,
        )

    def over(self, dataset: Dataset) -> CheckOptions:
        """These options, with the dataset's own settings for those at their defaults."""
        if not dataset.reading:
            return self
        default = CheckOptions()
        kept = {
            key: tuple(value) if is_list(value) else value
            for key, value in dataset.reading.items()
            if hasattr(self, key) and getattr(self, key) == getattr(default, key)
        }
        return replace(self, **kept)

    def reading(self) -> ReadOptions:
        """The options for reading files."""
        return ReadOptions(
            self.encoding,
            self.records_at,
            self.header,
            self.delimiter,
            self.max_record_mb,
            self.max_columns,
        )

    def rows(self, dataset: Dataset) -> RowOptions:
        """The options for reading rows; they override those of the dataset's catalog entry."""
        return RowOptions(
            columns={**dataset.columns, **self.columns},
            tags=dataset.tags,
            role_map={**dataset.role_map, **self.role_map},
            parse=self.parse,
            coerce=self.coerce,
            allow_empty=self.allow_empty,
            merge_same_role=self.merge_same_role,
        )

    def renamed(self, options: RowOptions, format: str | None) -> RowOptions:
        """Options by our names of the columns instead of LLaMA-Factory's, for its format alpaca.

        Args:
            options: From ``rows``.
            format: The format, configured or detected.
        """
        foreign = [name for name in options.columns if ALPACA.get(name, name) != name]
        if format != "alpaca" or not foreign:
            return options
        columns = {name: each for name, each in options.columns.items() if name not in foreign}
        theirs = {ALPACA[name]: options.columns[name] for name in foreign}
        columns |= {ours: each for ours, each in theirs.items() if ours not in self.columns}
        return replace(options, columns=columns)
