"""Datasets: list, upload, add, check, edit, copy and remove them, and inspect rows and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._facade import names_of

if TYPE_CHECKING:
    from tunery.services.datasets._adding import add_source, fetch_source, import_job
    from tunery.services.datasets._checks import check_job, known_check
    from tunery.services.datasets._columns import (
        UPLOAD_PREFIX,
        encodings,
        import_entries,
        propose_columns,
        source_path,
    )
    from tunery.services.datasets._copies import ROWS_FILE, is_free, rewrite
    from tunery.services.datasets._edits import edit_rows, fill_in, skip_bad, suggested_copy_name
    from tunery.services.datasets._listing import (
        Looking,
        ask_statistics,
        ask_tokens,
        describe,
        method_for,
        model_names,
        named,
        origin_of,
        overview,
        template_names,
    )
    from tunery.services.datasets._named import (
        READING,
        add,
        check,
        listing,
        only_common,
        own_folder,
        remove,
        write_report,
    )
    from tunery.services.datasets._preview import (
        ShownRow,
        fetch_model,
        notes_with_model,
        part_as_dict,
        pick_part,
        show_row,
        statistics,
    )
    from tunery.services.datasets._rendering import check_with_model
    from tunery.services.datasets._rows import MAX_PAGE, answer_rows, rows_page
    from tunery.services.datasets._tokens import answer_preview, answer_statistics
    from tunery.services.datasets._trash import move_to_trash, restore
    from tunery.services.datasets._uploads import (
        UPLOAD_CHUNK_BYTES,
        UPLOAD_LIMIT_VARIABLE,
        Upload,
        begin_upload,
        discard_upload,
        paste_upload,
        receive_upload,
        set_upload_limit,
        show_upload,
        upload_limit,
    )
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "MAX_PAGE",
    "READING",
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
    "check_with_model",
    "describe",
    "discard_upload",
    "edit_rows",
    "encodings",
    "fetch_model",
    "fetch_source",
    "fill_in",
    "import_entries",
    "import_job",
    "is_free",
    "known_check",
    "listing",
    "method_for",
    "model_names",
    "move_to_trash",
    "named",
    "notes_with_model",
    "only_common",
    "origin_of",
    "overview",
    "own_folder",
    "part_as_dict",
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
]  # fmt: skip
