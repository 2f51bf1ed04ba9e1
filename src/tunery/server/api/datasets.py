"""REST for datasets: rows and tokens, checks, copies, and files uploaded by a browser."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from tunery.config.data import TooLong
from tunery.errors import DataError
from tunery.i18n import t
from tunery.server.api.body import Body
from tunery.server.api.named import DatasetName, DataSettings, ModelName
from tunery.services import datasets, settings

router = APIRouter(prefix="/api/v1/datasets", tags=["datasets"])
RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
WRITE_BYTES = 4 * 1024 * 1024


class Source(Body):
    """Where rows come from, and how to read them."""

    source: DatasetName
    data: DataSettings = Field(default_factory=dict)


class NewDataset(Source):
    """A source to add as a dataset; ``skip_bad`` leaves out rows that cannot be used."""

    name: str = Field(default="", max_length=100)
    skip_bad: bool = False


class Entries(Body):
    """Entries to import from a LLaMA-Factory catalog."""

    source: DatasetName
    names: list[str] = Field(min_length=1, max_length=1000)


class NewUpload(Body):
    """The name and size in bytes of a file to upload."""

    name: str = Field(min_length=1, max_length=1024)
    size: int = Field(ge=0, le=2**53)


class Pasted(Body):
    """Rows pasted as text."""

    text: str


class Fill(Body):
    """A value for each placeholder, and optionally a name for the copy."""

    variables: dict[str, str]
    name: str = Field(default="", max_length=100)


class RowEdit(Body):
    """A change to one row: the new text at a path, or its deletion."""

    path: list[str | int] | None = None
    text: str | None = None
    delete: bool | None = None


class Change(RowEdit):
    """A change to the row ``row``, or a new row with ``values`` after the row ``after``."""

    row: int | None = None
    after: int | None = None
    values: dict[str, Any] | None = None


class Changes(Body):
    """Edits of rows.

    Each is ``{"row": 3, "path": ["output"], "text": "..."}``, ``{"row": 3, "delete": true}`` or
    ``{"after": 3, "values": {...}}`` (0 inserts before the first row); see
    ``services.datasets.edit_rows``.
    """

    changes: list[Change] = Field(min_length=1, max_length=1000)


class Undo(Body):
    """The ``undo`` value that removing a dataset returned."""

    undo: str


@router.get("")
def listing() -> list[dict[str, Any]]:
    """List all named datasets, with what is known about each."""
    return datasets.overview()


@router.post("", status_code=201)
def add(new: NewDataset) -> dict[str, Any]:
    """Add an upload, a path or a hub dataset under a name.

    Returns ``{"job"}`` if it takes longer. A version number is appended if the name is taken.
    """
    try:
        return datasets.add_source(new.source, new.name, new.data, skip_bad=new.skip_bad)
    except DataError as error:
        settings.with_ways(error.fields)
        raise


@router.post("/propose")
def propose(source: Source) -> dict[str, Any]:
    """Propose how to read a source: its format, its columns and three sample rows."""
    return settings.with_ways(datasets.propose_columns(source.source, source.data))


@router.post("/bring", status_code=202)
def fetch(source: Source) -> dict[str, Any]:
    """Start a job that downloads a hub dataset's files, so that they can be inspected."""
    return datasets.fetch_source(source.source)


@router.post("/import")
def import_entries(entries: Entries) -> list[dict[str, Any]]:
    """Add entries of a LLaMA-Factory dataset_info.json as datasets.

    Returns for each entry its new name, or the error if it cannot be read.
    """
    path = datasets.source_path(entries.source)
    return datasets.import_entries(path, entries.names)


@router.post("/paste", status_code=201)
def paste(pasted: Pasted) -> dict[str, Any]:
    """Store pasted rows as an upload."""
    return _told(datasets.paste_upload(pasted.text))


@router.post("/restore")
def restore(undo: Undo) -> dict[str, Any]:
    """Restore a removed dataset."""
    return datasets.restore(undo.undo)


@router.post("/uploads", status_code=201)
def begin(new: NewUpload) -> dict[str, Any]:
    """Start an upload, or find the interrupted upload of the same file and its progress."""
    return _told(datasets.begin_upload(new.name, new.size))


@router.get("/uploads/{upload_id}")
def upload(upload_id: str) -> dict[str, Any]:
    """Get the progress of an upload."""
    return _told(datasets.show_upload(upload_id))


@router.put("/uploads/{upload_id}")
async def receive(
    upload_id: str, request: Request, content_range: Annotated[str, Header()] = ""
) -> dict[str, Any]:
    """Upload a chunk of a file, with the header ``Content-Range: bytes 0-4194303/9000000``.

    Bytes received before the connection breaks are kept; ``GET`` returns how many. Rejects a
    range that does not match the size of the upload.
    """
    found = RANGE.fullmatch(content_range.strip())
    state = await run_in_threadpool(datasets.show_upload, upload_id)
    if found is None or int(found[3]) != state.size or int(found[2]) >= state.size:
        raise DataError(
            t(
                "The header Content-Range does not match this upload of {size} bytes.",
                size=state.size,
            ),
            fix=t("Send for example: bytes 0-{last}/{size}", last=state.size - 1, size=state.size),
            code="range",
        )
    start, held = int(found[1]), bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) >= WRITE_BYTES:
            state = await run_in_threadpool(
                datasets.receive_upload, upload_id, start, [bytes(held)]
            )
            start += len(held)
            held.clear()
    if held:
        state = await run_in_threadpool(datasets.receive_upload, upload_id, start, [bytes(held)])
    return _told(state)


@router.delete("/uploads/{upload_id}")
def discard(upload_id: str) -> dict[str, Any]:
    """Cancel an upload and delete its bytes."""
    datasets.discard_upload(upload_id)
    return {}


@router.get("/{name}")
def one(name: str) -> dict[str, Any]:
    """Get a named dataset, with its placeholders."""
    return datasets.describe(name)


@router.delete("/{name}")
def remove(name: str) -> dict[str, Any]:
    """Remove a dataset from the list; returns the ``undo`` value that ``/restore`` accepts."""
    return datasets.move_to_trash(name)


@router.get("/{name}/rows")
def rows(
    name: str,
    offset: Annotated[int, Query(ge=0, le=2**40)] = 0,
    limit: Annotated[int, Query(ge=1, le=datasets.MAX_PAGE)] = 50,
    q: Annotated[str, Query(max_length=200)] = "",
) -> dict[str, Any]:
    """Get a page of rows as they are in the files, including rows that cannot be used."""
    datasets.named(name)
    return datasets.rows_page(name, offset=offset, limit=limit, query=q)


@router.patch("/{name}/rows")
def edit(name: str, changes: Changes) -> dict[str, Any]:
    """Change, delete or add rows; the result is saved as a copy with a version number."""
    datasets.named(name)
    return datasets.edit_rows(
        name, [each.model_dump(exclude_none=True) for each in changes.changes]
    )


@router.patch("/{name}/rows/{row}")
def edit_row(name: str, row: int, change: RowEdit) -> dict[str, Any]:
    """Change one row: ``{"path": ["output"], "text": "..."}``, or delete it: ``{"delete": true}``.

    The result is saved as a copy with a version number.
    """
    datasets.named(name)
    return datasets.edit_rows(name, [{**change.model_dump(exclude_none=True), "row": row}])


@router.get("/{name}/tokens")
def tokens(
    name: str,
    row: Annotated[int, Query(ge=1, le=2**40)] = 1,
    part: Annotated[int | None, Query(ge=1, le=2**40)] = None,
    model: ModelName = "demo",
    template: Annotated[str, Query(max_length=100)] = "",
    max_length: Annotated[int, Query(ge=8, le=4_194_304)] = 2048,
    loss_on: Literal["assistant", "last", "all"] = "assistant",
    too_long: TooLong = "turns",
) -> dict[str, Any]:
    """Get a row as the model sees it: its tokens, and which of them are trained on."""
    datasets.named(name)
    looking = datasets.Looking(model, template, max_length, loss_on, too_long)
    return datasets.ask_tokens(name, looking, row=row, part=part)


@router.get("/{name}/statistics")
def statistics(
    name: str,
    model: ModelName = "demo",
    template: Annotated[str, Query(max_length=100)] = "",
    max_length: Annotated[int, Query(ge=8, le=4_194_304)] = 2048,
    loss_on: Literal["assistant", "last", "all"] = "assistant",
    too_long: TooLong = "turns",
) -> dict[str, Any]:
    """Get token counts and row lengths of the whole dataset.

    Refuses a dataset that is too large to tokenize at once.
    """
    datasets.named(name)
    looking = datasets.Looking(model, template, max_length, loss_on, too_long)
    return datasets.ask_statistics(name, looking)


@router.get("/{name}/checks")
def checks(name: str) -> dict[str, Any]:
    """Get the results of the check; returns ``{"job"}`` while a large dataset is checked."""
    datasets.named(name)
    return settings.with_places(datasets.known_check(name))


@router.post("/{name}/checks")
def check_again(name: str) -> dict[str, Any]:
    """Check the dataset again, even if the last results are still valid."""
    datasets.named(name)
    return settings.with_places(datasets.known_check(name, again=True))


@router.post("/{name}/skip-bad", status_code=201)
def skip_bad(name: str) -> dict[str, Any]:
    """Save a copy of the dataset without the rows that cannot be used."""
    datasets.named(name)
    saved = datasets.skip_bad(name)
    return {"name": saved["name"], "rows": saved["rows"]}


@router.post("/{name}/fill", status_code=201)
def fill(name: str, filling: Fill) -> dict[str, Any]:
    """Replace each placeholder with a value and save the rows as a new dataset."""
    datasets.named(name)
    saved = datasets.fill_in(name, filling.variables, save_as=filling.name.strip())
    return {"name": saved["name"], "rows": saved["rows"]}


def _told(state: datasets.Upload) -> dict[str, Any]:
    return {
        "id": state.id,
        "name": state.name,
        "size": state.size,
        "received": state.received,
        "done": state.done,
        "left_out": state.left_out,
        "source": f"{datasets.UPLOAD_PREFIX}{state.id}",
        "chunk_bytes": datasets.UPLOAD_CHUNK_BYTES,
    }
