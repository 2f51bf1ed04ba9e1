"""Uploads: cut and resumed, twice, too big, of a wrong kind; archives that would break out."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path

import pytest

from tunery import env
from tunery.errors import DataError, UnknownName
from tunery.services import access, datasets
from tunery.services.datasets import _archives, _uploads, listing
from tunery.services.machine import _roots

ROWS = b"".join(b'{"text": "row %d"}\n' % n for n in range(50))


def sent(name: str, data: bytes) -> _uploads.Upload:
    upload = _uploads.begin_upload(name, len(data))
    return _uploads.receive_upload(upload.id, 0, [data])


def zipped(files: dict[str, bytes], *, mode: int = 0) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return held.getvalue()


def test_a_file_cut_at_99_percent_goes_on_where_it_stopped() -> None:
    begun = _uploads.begin_upload("rows.jsonl", len(ROWS))
    cut = len(ROWS) * 99 // 100
    _uploads.receive_upload(begun.id, 0, [ROWS[:100], ROWS[100:cut]])
    assert not _uploads.show_upload(begun.id).done
    assert not (begun.folder / "files").exists()
    again = _uploads.begin_upload("rows.jsonl", len(ROWS))
    assert (again.id, again.received) == (begun.id, cut)
    with pytest.raises(DataError, match="bytes were received, so the next byte cannot be") as error:
        _uploads.receive_upload(begun.id, cut + 1, [ROWS[cut + 1 :]])
    assert error.value.fields["received"] == cut
    whole = _uploads.receive_upload(begun.id, cut - 50, [ROWS[cut - 50 :]])
    assert whole.done
    assert whole.files.read_bytes() == ROWS
    assert _uploads.receive_upload(
        begun.id, 0, [ROWS]
    ).done  # the answer was lost; nothing is doubled


def test_more_bytes_than_announced_are_refused() -> None:
    begun = _uploads.begin_upload("rows.jsonl", 10)
    with pytest.raises(DataError, match="Received more than the announced"):
        _uploads.receive_upload(begun.id, 0, [ROWS])


def test_a_partial_upload_is_never_listed_and_the_same_name_twice_becomes_a_version() -> None:
    before = len(listing())
    _uploads.begin_upload("rows.jsonl", len(ROWS) + 1)
    assert len(listing()) == before
    names = []
    for _ in range(2):
        names.append(datasets.add_source(f"upload:{sent('Rows (1).jsonl', ROWS).id}")["name"])
    assert names == ["rows-1", "rows-1-v2"]
    assert {"rows-1", "rows-1-v2"} <= {each["name"] for each in listing()}


@pytest.mark.parametrize(
    "name", ["a.exe", "a.pdf", "noend", "..", "a.jsonl.exe", "dataset_info.json"]
)
def test_a_kind_that_holds_no_rows_is_refused_before_a_byte_comes(name: str) -> None:
    with pytest.raises(DataError, match="unsupported file type"):
        _uploads.begin_upload(name, 10)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/x.jsonl",
        "C:\\x\\y.jsonl",
        "/etc/x.jsonl",
        "\u202egnp.jsonl",
        "a" * 300 + ".jsonl",
    ],
)
def test_names_of_files_are_made_here(name: str) -> None:
    upload = sent(name, ROWS)
    assert upload.files.is_relative_to(env.datasets_dir() / "uploads" / upload.id / "files")
    assert upload.files.name.removesuffix(".jsonl").replace("-", "a").isalnum()


@pytest.mark.parametrize("upload_id", ["..", "../copies", "0" * 23, "A" * 24, "%2e%2e", "0" * 24])
def test_no_id_leads_out_of_the_folder(upload_id: str) -> None:
    with pytest.raises(UnknownName):
        _uploads.show_upload(upload_id)


def test_a_quota_is_said_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_uploads.UPLOAD_LIMIT_VARIABLE, "1000")
    with pytest.raises(DataError, match=r"is 1\.2 KiB; the limit is 1000 B"):
        _uploads.begin_upload("rows.jsonl", 1200)
    monkeypatch.delenv(_uploads.UPLOAD_LIMIT_VARIABLE)
    monkeypatch.setattr(env, "free_bytes", lambda path: _uploads.FLOOR_BYTES + 10 * 2**20)
    with pytest.raises(DataError, match=r"20\.0 MiB, but only 10\.0 MiB is free"):
        _uploads.begin_upload("rows.jsonl", 20 * 2**20)
    _uploads.begin_upload("first.jsonl", 6 * 2**20)
    with pytest.raises(DataError, match=r"but only 4\.0 MiB is free"):
        _uploads.begin_upload("second.jsonl", 6 * 2**20)


def test_a_foreign_content_is_named_when_it_is_looked_at() -> None:
    upload = sent("rows.jsonl", b"%PDF-1.7 and so on")
    assert "a PDF" in datasets.propose_columns(f"upload:{upload.id}")["problem"]
    with pytest.raises(DataError, match="a PDF"):
        datasets.add_source(f"upload:{upload.id}", "mine")
    assert "mine" not in {each["name"] for each in listing()}


def test_a_zip_is_unpacked_and_its_other_members_are_counted() -> None:
    upload = sent(
        "all.zip",
        zipped({"a/1.jsonl": ROWS, "a/2.jsonl": ROWS, "README.md": b"hi", ".x.json": b"{"}),
    )
    assert upload.done
    assert upload.left_out == 2
    added = datasets.add_source(f"upload:{upload.id}")
    assert added == {"name": "all", "rows": 100}
    assert not upload.folder.exists()


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"../evil.jsonl": ROWS}, "E160"),
        ({"/etc/evil.jsonl": ROWS}, "E160"),
        ({"a/../../evil.jsonl": ROWS}, "E160"),
        ({"..\\evil.jsonl": ROWS}, "E160"),
        ({"C:\\evil.jsonl": ROWS}, "E160"),
        ({"CON.jsonl": ROWS}, "E160"),
        ({"a.jsonl": ROWS, "A.JSONL": ROWS}, "E160"),
        ({"a.jsonl": ROWS, "a.jsonl/b.jsonl": ROWS}, "E160"),
        ({"A.jsonl/c/b.jsonl": ROWS, "a.jsonl": ROWS}, "E160"),
        ({"n" * 300 + ".jsonl": ROWS}, "E160"),
        ({"zeros.jsonl": b"0" * 40 * 2**20}, "E161"),
        ({f"{n}.txt": b"x" for n in range(_archives.MAX_MEMBERS + 1)}, "E161"),
        ({"inner.zip": zipped({"a.jsonl": ROWS})}, "E196"),
    ],
)
def test_hostile_archives_are_refused_and_leave_nothing(files: dict[str, bytes], code: str) -> None:
    data = zipped(files)
    begun = _uploads.begin_upload("evil.zip", len(data))
    with pytest.raises(DataError) as error:
        _uploads.receive_upload(begun.id, 0, [data])
    assert error.value.code == code
    assert not begun.folder.exists()
    assert not list(env.home().rglob("*evil*"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_archives_are_refused(kind: int) -> None:
    data = zipped({"link.jsonl": b"/etc/passwd"}, mode=kind | 0o777)
    begun = _uploads.begin_upload("links.zip", len(data))
    with pytest.raises(DataError, match="a link or a device"):
        _uploads.receive_upload(begun.id, 0, [data])


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "overlap.zip"
    file.write_bytes(zipped({"a.jsonl": ROWS, "b.jsonl": ROWS}))
    data = bytearray(file.read_bytes())
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = (0).to_bytes(4, "little")  # b starts where a does
    (tmp_path / "out").mkdir()
    file.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"rejected|damaged"):
        _archives.unpack(file, tmp_path / "out")


def test_rows_that_are_pasted_become_a_file_of_their_kind() -> None:
    pasted = _uploads.paste_upload('{"instruction": "q", "output": "a"}')
    assert pasted.files.name == "pasted.jsonl"
    assert _uploads.paste_upload('[{"text": "x"}]').files.suffix == ".json"
    assert _uploads.paste_upload("instruction,output\nq,a").files.suffix == ".csv"
    with pytest.raises(DataError, match="Nothing was pasted"):
        _uploads.paste_upload("  ")


def test_columns_are_mapped_with_a_confidence_and_three_rows(tmp_path: Path) -> None:
    rows = [{"frage": f"q{n}", "antwort": f"a{n}"} for n in range(5)]
    upload = sent("de.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    source = f"upload:{upload.id}"
    found = datasets.propose_columns(source)
    assert (found["format"], found["columns"]) == (None, ["frage", "antwort"])
    data = {"format": "alpaca", "columns": {"instruction": "frage", "output": "antwort"}}
    chosen = datasets.propose_columns(source, data)
    assert [each["messages"][1]["content"] for each in chosen["preview"]] == ["a0", "a1", "a2"]
    needed = {each["ours"]: each["theirs"] for each in chosen["needed"]}
    assert needed["instruction"] == "frage"
    added = datasets.add_source(source, "german", data)
    assert added == {"name": "german", "rows": 5}
    sure = datasets.propose_columns(f"upload:{sent('x.jsonl', ROWS).id}")
    assert (sure["format"], sure["confidence"]) == ("text", 1.0)


def test_rows_that_do_not_pass_are_grouped_and_can_be_left_out() -> None:
    data = ROWS + b'{"text": ""}\n{"text": 5}\n{"text": "cut\n'
    source = f"upload:{sent('some.jsonl', data).id}"
    with pytest.raises(DataError) as error:
        datasets.add_source(source, "some")
    fields = error.value.fields
    assert (fields["bad"], fields["rows"], fields["only_rows"]) == (3, 53, True)
    assert {group["code"] for group in fields["groups"]} >= {"E302", "E304", "E106"}
    assert datasets.add_source(source, "some", skip_bad=True) == {"name": "some", "rows": 50}


def test_a_catalog_of_llama_factory_is_listed_and_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "lf"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps([{"q": "1", "a": "2"}] * 3))
    (folder / "dataset_info.json").write_text(
        json.dumps(
            {
                "mine": {"file_name": "a.json", "columns": {"prompt": "q", "response": "a"}},
                "gone": {"file_name": "b.json"},
            }
        )
    )
    listed = datasets.propose_columns(str(folder))["catalog"]
    assert [(each["name"], bool(each["problem"])) for each in listed] == [
        ("mine", False),
        ("gone", True),
    ]
    done = datasets.import_entries(str(folder), ["mine", "gone", "nope"])
    assert done[0] == {"name": "mine", "as": "mine", "rows": 3}
    assert "error" in done[1]
    assert "error" in done[2]


def test_a_path_outside_the_roots_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "inside"))
    monkeypatch.setattr(_roots, "USUAL", ())
    (tmp_path / "inside").mkdir()
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(ROWS)
    (tmp_path / "inside" / "link.jsonl").symlink_to(secret)
    for path in (
        secret,
        tmp_path / "inside" / "link.jsonl",
        tmp_path / "inside" / ".." / "secret.jsonl",
    ):
        with pytest.raises(Exception, match="outside"):
            datasets.propose_columns(access.dataset(str(path)))
    with pytest.raises(DataError, match="an absolute path"):
        datasets.propose_columns("secret.jsonl")
