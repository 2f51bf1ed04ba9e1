"""Datasets: list, upload, add, check, edit, copy, remove, and look at rows and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._face import names_of

if TYPE_CHECKING:
    from tunery.services.datasets._adding import add as add_source
    from tunery.services.datasets._adding import fetch_source, import_job
    from tunery.services.datasets._checks import check_job
    from tunery.services.datasets._checks import look as known_check
    from tunery.services.datasets._columns import UPLOAD as UPLOAD_PREFIX
    from tunery.services.datasets._columns import import_entries, source_path
    from tunery.services.datasets._columns import propose as propose_columns
    from tunery.services.datasets._copies import FILE as ROWS_FILE
    from tunery.services.datasets._copies import is_free, rewrite
    from tunery.services.datasets._edits import edit as edit_rows
    from tunery.services.datasets._edits import fill_in, skip_bad
    from tunery.services.datasets._edits import suggested as suggested_copy_name
    from tunery.services.datasets._listing import (
        Looking,
        model_names,
        named,
        overview,
        template_names,
    )
    from tunery.services.datasets._listing import one as describe
    from tunery.services.datasets._listing import statistics as ask_statistics
    from tunery.services.datasets._listing import tokens as ask_tokens
    from tunery.services.datasets._named import (
        add,
        check,
        listing,
        own_folder,
        remove,
        write_report,
    )
    from tunery.services.datasets._preview import Shown as ShownRow
    from tunery.services.datasets._preview import fetch_model, statistics
    from tunery.services.datasets._preview import pick as pick_part
    from tunery.services.datasets._preview import show as show_row
    from tunery.services.datasets._rows import MAX_PAGE
    from tunery.services.datasets._rows import page as rows_page
    from tunery.services.datasets._rows import sample_rows as answer_rows
    from tunery.services.datasets._tokens import preview_row as answer_preview
    from tunery.services.datasets._tokens import statistics as answer_statistics
    from tunery.services.datasets._trash import move_to_trash, restore
    from tunery.services.datasets._uploads import CHUNK_BYTES as UPLOAD_CHUNK_BYTES
    from tunery.services.datasets._uploads import LIMIT_VARIABLE as UPLOAD_LIMIT_VARIABLE
    from tunery.services.datasets._uploads import Upload
    from tunery.services.datasets._uploads import begin as begin_upload
    from tunery.services.datasets._uploads import discard as discard_upload
    from tunery.services.datasets._uploads import limit_bytes as upload_limit
    from tunery.services.datasets._uploads import paste as paste_upload
    from tunery.services.datasets._uploads import receive as receive_upload
    from tunery.services.datasets._uploads import set_limit as set_upload_limit
    from tunery.services.datasets._uploads import show as show_upload
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "MAX_PAGE",
    "ROWS_FILE",
    "UPLOAD_CHUNK_BYTES",
    "UPLOAD_LIMIT_VARIABLE",
    "UPLOAD_PREFIX",
    "Looking",
    "ShownRow",
    "Upload",
    "add",
    "add_source",
    "answer_preview",
    "answer_rows",
    "answer_statistics",
    "ask_statistics",
    "ask_tokens",
    "begin_upload",
    "check",
    "check_job",
    "describe",
    "discard_upload",
    "edit_rows",
    "fetch_model",
    "fetch_source",
    "fill_in",
    "import_entries",
    "import_job",
    "is_free",
    "known_check",
    "listing",
    "model_names",
    "move_to_trash",
    "named",
    "overview",
    "own_folder",
    "paste_upload",
    "pick_part",
    "propose_columns",
    "receive_upload",
    "remove",
    "restore",
    "rewrite",
    "rows_page",
    "set_upload_limit",
    "show_row",
    "show_upload",
    "skip_bad",
    "source_path",
    "statistics",
    "suggested_copy_name",
    "template_names",
    "upload_limit",
    "write_report",
]
