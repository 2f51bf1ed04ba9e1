"""The table of bad inputs in ../shared/design/reliability.md, as files and what is said of them."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Expected = tuple[str, str, int | None, str | None]
"""Code, level, line, field."""


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        id: Its number in the table (or a letter of our own).
        file: The file's name.
        content: Bytes, or what makes the file.
        expected: Every problem group: code, level, line, field of its first example.
        options: Settings of the check.
        rows: Rows read, where it matters.
        words: What the sentence must hold.
        cure: Settings that the fix names; with them nothing stops any more.
    """

    id: str
    file: str
    content: bytes | Callable[[Path], None]
    expected: tuple[Expected, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    words: tuple[str, ...] = ()
    cure: dict[str, Any] | None = None


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def alpaca(i: int, **more: Any) -> dict[str, Any]:
    return {"instruction": f"question {i}", "output": f"answer {i}", **more}


def chat(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def good(count: int) -> list[dict[str, Any]]:
    return [alpaca(i) for i in range(count)]


def with_row(at: int, row: Any, count: int = 10) -> bytes:
    rows: list[Any] = good(count)
    rows[at - 1] = row
    return jsonl(*rows)


def chats(at: int, row: Any, count: int = 10) -> bytes:
    rows: list[Any] = [chat(("user", f"q {i}"), ("assistant", f"a {i}")) for i in range(count)]
    rows[at - 1] = row
    return jsonl(*rows)


def _parquet(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["one text", "another text"]}), path)


def _xlsx(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")


def _unreadable(path: Path) -> None:
    path.write_bytes(jsonl(alpaca(1)))
    path.chmod(0)


def _lines(*lines: str) -> bytes:
    return "\n".join(lines).encode() + b"\n"


def _bomb() -> bytes:
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb") as file:
        file.write(b" " * 20_000_000)
    return stream.getvalue()


TEN_JSON = json.dumps(good(10)).encode()
E304, E302, E301 = "E304", "E302", "E301"
TOKEN = "hf_" + "A" * 34

CASES = (
    Case("C01", "empty.json", b"", (("E101", "stop", None, None),), words=("0 bytes",)),
    Case("C03", "ws_only.jsonl", b"\n \n\n", (("E102", "stop", None, None),), words=("3 blank",)),
    Case("C05", "trailing_comma.json", TEN_JSON[:-1] + b",]", (("E104", "stop", 1, None),)),
    Case(
        "C07",
        "broken_line.jsonl",
        jsonl(*good(4)) + b'{"instruction": "q4", "output": "a4"\n' + jsonl(*good(9)[4:]),
        (("E106", "stop", 5, None),),
        rows=10,
        words=("expected , or }",),
    ),
    Case("C09", "bom.json", b"\xef\xbb\xbf" + TEN_JSON, (("N110", "note", None, None),), rows=10),
    Case(
        "C11",
        "utf16.json",
        TEN_JSON.decode().encode("utf-16"),
        (("E111", "stop", None, None),),
        words=("FF FE",),
        cure={"encoding": "utf-16"},
    ),
    Case(
        "C12",
        "utf16_no_mark.json",
        TEN_JSON.decode().encode("utf-16-le"),
        (("E111", "stop", None, None),),
        cure={"encoding": "utf-16-le"},
    ),
    Case(
        "C13",
        "latin1.jsonl",
        '{"instruction": "café", "output": "coffee"}\n'.encode("latin-1") + jsonl(*good(3)),
        (("E112", "stop", 1, None),),
        words=("0xE9", "cp1252: café", "--data.encoding cp1252"),
        cure={"encoding": "cp1252"},
    ),
    Case(
        "B1a",
        "gbk.jsonl",
        jsonl(alpaca(0, input="你好，今天天气很好")).decode().encode("gbk") + jsonl(*good(6)),
        (("E112", "stop", 1, None),),
        words=("gb18030: 你好，今天天气很好", "--data.encoding gb18030"),
        cure={"encoding": "gb18030"},
    ),
    Case(
        "B1b",
        "gbk_array.json",
        ("[" + json.dumps(alpaca(0, input="请翻译"), ensure_ascii=False) + "]").encode("gbk"),
        (("E112", "stop", 1, None),),
        words=("gb18030: 请翻译", "--data.encoding gb18030"),
        cure={"encoding": "gb18030"},
    ),
    Case(
        "B1c",
        "big5.csv",
        "instruction,output\n請翻譯這句話,今天天氣很好\n".encode("big5"),
        (("E112", "stop", 2, None),),
        words=("big5: 請翻譯這句話", "--data.encoding big5"),
        cure={"encoding": "big5"},
    ),
    Case(
        "B1d",
        "cut_character.jsonl",
        jsonl(alpaca(0, input="你好"), alpaca(1, input="早")).replace("早".encode(), b"\xe6\x97")
        + jsonl(alpaca(2, input="很好")),
        (("E112", "stop", 2, None),),
        rows=3,
        words=("unlike other rows", "Correct this row"),
    ),
    Case(
        "B1e",
        "set_but_utf8.jsonl",
        jsonl(alpaca(0, input="你好吗?")),
        (("E112", "stop", None, None),),
        {"encoding": "shift_jis"},
        words=("The file is UTF-8",),
        cure={"encoding": "utf-8"},
    ),
    Case(
        "C15",
        "lone_surrogate.jsonl",
        jsonl(*good(5)) + b'{"instruction": "\\ud83d", "output": "a"}\n' + jsonl(*good(7)[5:]),
        (("E113", "stop", 6, "instruction"),),
        words=("\\ud83d",),
    ),
    Case("C17", "lines.json", jsonl(*good(10)), (("N114", "note", None, None),), rows=10),
    Case("C18", "array.jsonl", TEN_JSON, (("N113", "note", None, None),), rows=10),
    Case(
        "C19",
        "wrapped.json",
        json.dumps({"version": 1, "data": good(10)}).encode(),
        (("E120", "stop", 1, None),),
        words=("data", "10 records"),
        cure={"records_at": "data"},
    ),
    Case(
        "C20",
        "deeply_wrapped.json",
        json.dumps({"a": {"x": [1, {"rows": []}]}, "b": {"rows": good(4)}}, indent=1).encode(),
        (("E121", "stop", 1, None),),
        cure={"records_at": "b.rows"},
    ),
    Case(
        "C21",
        "strings.json",
        b'["hello", "world"]',
        (("E122", "stop", 1, None),),
        rows=2,
        words=('a string "hello"',),
    ),
    Case(
        "C23",
        "dupkeys.jsonl",
        b'{"instruction": "q", "output": "first", "output": "second"}\n' + jsonl(*good(3)),
        (("E124", "stop", 1, "output"),),
        words=('"first"', '"second"'),
    ),
    Case(
        "C24",
        "dupkeys.json",
        b'[{"instruction": "q", "output": "first", "output": "second"}]',
        (("E124", "stop", 1, "output"),),
    ),
    Case("C25", "separators.jsonl", jsonl(alpaca(1, input="a\u2028b\u2029c")), (), rows=1),
    Case(
        "C27",
        "bigint.jsonl",
        b'{"instruction": "q", "output": "a", "id": 1e400}\n'
        b'{"instruction": "r", "output": "b", "id": 123456789012345678901234567890}\n',
        (("E126", "warn", 1, "id"), ("W725", "warn", None, None)),
        words=("out of range",),
    ),
    Case(
        "C28", "nan.jsonl", b'{"instruction": "q", "output": NaN}\n', (("E125", "stop", 1, None),)
    ),
    Case("C29", "zipped.json", gzip.compress(TEN_JSON), (("N115", "note", None, None),), rows=10),
    Case("C30", "zipped.json.gz", gzip.compress(TEN_JSON), (), rows=10),
    Case(
        "C30b", "cut.json.gz", gzip.compress(TEN_JSON * 50)[:-20], (("E130", "stop", None, None),)
    ),
    Case(
        "C31",
        "lfs.json",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        (("E131", "stop", None, None),),
        words=("12,345",),
    ),
    Case(
        "C33",
        "unquoted_newline.csv",
        _lines("instruction,input,output", "tell me", "more,,yes", "q,,a"),
        (("E140", "stop", 2, None),),
        words=("1 column, the header has 3", "lines 2 and 3"),
    ),
    Case(
        "C35",
        "words.csv",
        _lines("instruction,output", "a,NA", "b,null", "c,nan", "d,None"),
        (("W714", "warn", 2, None),),
        rows=4,
    ),
    Case(
        "C37",
        "nohdr.csv",
        _lines("q,,a", "r,,b"),
        (("E143", "stop", 1, None),),
        words=('q, "", a',),
        cure={
            "header": False,
            "format": "alpaca",
            "columns": {"instruction": "1", "input": "2", "output": "3"},
        },
    ),
    Case("C38", "quotes.csv", b'instruction,output\nq,"a\nr,b\n', (("E141", "stop", 2, None),)),
    Case(
        "C39",
        "nocols.parquet",
        _parquet,
        (("E201", "stop", None, None),),
        options={"format": "alpaca"},
        words=("has text", "needs instruction, output", "--data.format text"),
        cure={"format": "text"},
    ),
    Case("C40", "nested.jsonl", b'{"a":' * 200_000 + b"\n", (("E123", "stop", 1, None),)),
    Case(
        "C41",
        "two.jsonl",
        b'{"text": "a"}{"text": "b"}\n{"text": "c"}\n',
        (("E107", "stop", 1, None),),
    ),
    Case("C42", "cut.json", TEN_JSON[:-30], (("E105", "stop", 1, None),)),
    Case("C43", "page.json", b"<!DOCTYPE html><html></html>", (("E118", "stop", None, None),)),
    Case("C44", "paper.jsonl", b"%PDF-1.7 ...", (("E119", "stop", None, None),)),
    Case(
        "C45",
        "missing_comma.json",
        json.dumps(good(2)).replace("}, {", "} {").encode(),
        (("E103", "stop", 1, None),),
    ),
    Case("C46", "empty_list.json", b"[]", (("E102", "stop", 1, None),)),
    Case(
        "F01",
        "missing_output.jsonl",
        with_row(6, {"instruction": "q"}),
        ((E301, "stop", 6, "output"),),
    ),
    Case(
        "F03",
        "empty_output.jsonl",
        with_row(6, alpaca(5, output="")),
        ((E302, "stop", 6, "output"),),
        cure={"allow_empty": ("output",)},
    ),
    Case(
        "F05",
        "ws_output.jsonl",
        jsonl(*(alpaca(i, output=" \t") for i in range(5))),
        ((E302, "stop", 1, "output"),),
        words=("only whitespace",),
    ),
    Case(
        "F07",
        "mixed_type.jsonl",
        with_row(6, alpaca(5, output=42)),
        ((E304, "stop", 6, "output"),),
        words=("expected text, found number 42",),
        cure={"coerce": {"output": "text"}},
    ),
    Case(
        "F09",
        "dict_output.jsonl",
        jsonl(*(alpaca(i, output={"a": i}) for i in range(3))),
        ((E304, "stop", 1, "output"),),
        words=("an object",),
        cure={"coerce": {"output": "json"}},
    ),
    Case(
        "F11",
        "typo_key.jsonl",
        with_row(6, {"instruction": "q", "ouput": "a"}),
        ((E301, "stop", 6, "output"),),
        words=("ouput", "Did you mean output?"),
    ),
    Case(
        "F15",
        "same.jsonl",
        jsonl(*([alpaca(1)] * 50)),
        (("W704", "warn", None, None),),
        words=("50 rows, 1 distinct",),
    ),
    Case(
        "F17",
        "placeholder.jsonl",
        jsonl(
            *(
                alpaca(i, output=f"I am {{{{name}}}} {{{{name}}}} of {{company}}, {i}")
                for i in range(5)
            )
        ),
        (("W706", "warn", 1, None),),
        words=("{{name}} ×10", "{company} ×5", "5 of 5"),
    ),
    Case(
        "F19",
        "special_output.jsonl",
        jsonl(alpaca(1, output="I am<|im_end|> done")),
        (("W707", "warn", 1, "output"),),
        words=("character 5", "<|im_end|>"),
    ),
    Case(
        "F21",
        "secret.jsonl",
        jsonl(alpaca(1, output=f"use {TOKEN}")),
        (("W708", "warn", 1, "output"),),
        words=("a Hugging Face token", "hf_AAAA…"),
    ),
    Case(
        "F23",
        "double_escaped.jsonl",
        jsonl(*(alpaca(i, output=f"first\\nsecond {i}") for i in range(3))),
        (("W710", "warn", 1, None),),
        words=("3 of 3",),
    ),
    Case(
        "F25",
        "hidden.jsonl",
        jsonl(
            alpaca(1, output="a\u202eb"), alpaca(2, output="a\u200bb"), alpaca(3, output="a\x07b")
        ),
        (("W701", "warn", 1, "output"),),
        words=("U+202E", "U+200B", "U+0007"),
    ),
    Case(
        "M02",
        "two_users.jsonl",
        chats(6, chat(("user", "a"), ("user", "b"), ("assistant", "c"))),
        (("E402", "stop", 6, "messages[1]"),),
        words=("user after user",),
        cure={"merge_same_role": True},
    ),
    Case(
        "M04",
        "system_mid.jsonl",
        chats(6, chat(("user", "a"), ("system", "b"), ("assistant", "c"))),
        (("E404", "stop", 6, "messages[1]"),),
    ),
    Case(
        "M06",
        "capitals.jsonl",
        jsonl(*(chat(("User", f"q {i}"), ("Assistant", f"a {i}")) for i in range(5))),
        (("E405", "stop", 1, "messages[0].role"),),
        words=('"User"',),
        cure={"role_map": {"User": "user", "Assistant": "assistant"}},
    ),
    Case(
        "M08",
        "null_messages.jsonl",
        chats(6, {"messages": None}),
        (("E303", "stop", 6, "messages"),),
    ),
    Case(
        "M10",
        "no_content.jsonl",
        chats(6, {"messages": [{"role": "user"}, {"role": "assistant", "content": "a"}]}),
        ((E301, "stop", 6, "messages[0].content"),),
    ),
    Case(
        "M12",
        "str_messages.jsonl",
        jsonl(
            *(
                {"messages": json.dumps(chat(("user", f"{i}"), ("assistant", "a"))["messages"])}
                for i in range(3)
            )
        ),
        (("E407", "stop", 1, "messages"),),
        cure={"parse": {"messages": "json"}},
    ),
    # M14 of the table is accepted: data-and-chat.md has user/assistant work with no tags.
    Case(
        "M14",
        "user_assistant.jsonl",
        jsonl(
            {"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]}
        ),
        (),
        rows=1,
    ),
    Case(
        "M16",
        "tools_bad_json.jsonl",
        jsonl(chat(("user", "q"), ("assistant", "a"), tools="[{]")),
        (("E411", "stop", 1, "tools"),),
        words=("column 3",),
    ),
    Case(
        "M18",
        "mixed_schema.jsonl",
        jsonl(*good(4), *(chat(("user", f"q {i}"), ("assistant", f"a {i}")) for i in range(3))),
        (("E202", "stop", 5, None),),
        words=("alpaca", "openai"),
    ),
    Case(
        "M20",
        "weight_bad.jsonl",
        jsonl(
            {
                "messages": [
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": "a", "weight": "two"},
                ]
            }
        ),
        (("E304", "stop", 1, "messages[1].weight"),),
        words=('expected 0 or 1, found "two"',),
    ),
    Case(
        "M21",
        "bad_call.jsonl",
        jsonl(
            {
                "messages": [
                    {"role": "user", "content": "q"},
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "f", "arguments": "{x}"}}],
                    },
                ]
            }
        ),
        (("E412", "stop", 1, "messages[1].tool_calls[0].arguments"),),
    ),
    Case(
        "M22",
        "only_user.jsonl",
        jsonl(chat(("user", "q")), chat(("user", "r"), ("assistant", "s"))),
        (("E406", "stop", 1, "messages"),),
    ),
    Case(
        "M23",
        "last_user.jsonl",
        jsonl(chat(("user", "q"), ("assistant", "a"), ("user", "r"))),
        (("W711", "warn", 1, None),),
    ),
    Case(
        "P06",
        "preference.jsonl",
        jsonl(*({"prompt": f"p {i}", "chosen": f"c {i}", "rejected": f"r {i}"} for i in range(3))),
        (("E503", "stop", None, None),),
        options={"wanted": "conversation"},
        words=("preference data", "single answers"),
        cure={"format": "prompt_completion", "columns": {"completion": "chosen"}},
    ),
    Case(
        "P09",
        "labelled.jsonl",
        jsonl({"prompt": "p", "completion": "c", "label": True}),
        (("E505", "stop", None, None),),
        options={"wanted": "conversation"},
        cure={"format": "prompt_completion"},
    ),
    Case(
        "P02",
        "dpo_null.jsonl",
        jsonl(
            {"prompt": "p", "chosen": "c", "rejected": "r"},
            {"prompt": "p", "chosen": "c", "rejected": None},
        ),
        (("E303", "stop", 2, "rejected"),),
    ),
    Case(
        "P05",
        "sft_for_dpo.jsonl",
        jsonl(chat(("user", "q"), ("assistant", "a"))),
        (("E507", "stop", None, None),),
        options={"wanted": "pair"},
        words=("pairs of a chosen and a rejected answer",),
    ),
    Case(
        "P07",
        "dpo_same.jsonl",
        jsonl({"prompt": "p", "chosen": "same", "rejected": "same"}),
        (("E511", "stop", 1, None),),
    ),
    Case(
        "P08",
        "kto_word.jsonl",
        jsonl(
            {"prompt": "p", "completion": "c", "label": True},
            {"prompt": "q", "completion": "c", "label": False},
            {"prompt": "r", "completion": "c", "label": "good"},
        ),
        (("E504", "stop", 3, "label"),),
        words=("expected true or false",),
    ),
    Case(
        "P11",
        "kto_one_label.jsonl",
        jsonl(*({"prompt": f"p {i}", "completion": "c", "label": True} for i in range(3))),
        (("W722", "warn", None, None),),
        words=("both labels",),
    ),
    Case(
        "I01",
        "image_part.jsonl",
        jsonl(
            chat(("user", [{"type": "image_url", "image_url": {"url": "x"}}]), ("assistant", "a"))
        ),
        (("E600", "stop", 1, "messages[0].content[0]"),),
    ),
    Case(
        "T01",
        "pt_empty.jsonl",
        jsonl({"text": ""}, {"text": "some"}, {"text": " "}, {"text": ""}),
        ((E302, "stop", 1, "text"),),
        words=("empty",),
        rows=4,
    ),
    Case("X01", "rows.zip.json", _xlsx, (("E117", "stop", None, None),)),
    Case("X03", "bomb.jsonl.gz", _bomb(), (("E161", "stop", None, None),), words=("200:1",)),
    Case("X05", "sheet.xlsx", _xlsx, (("E116", "stop", None, None),)),
    Case(
        "X15",
        "one_line.jsonl",
        lambda path: _huge_line(path),
        (("E127", "stop", 1, None),),
        rows=2,
        options={"max_record_mb": 16},
        words=("40 MB", "16 MB", "--data.max_record_mb 41"),
        cure={"max_record_mb": 41},
    ),
    Case(
        "X17",
        "unanswered_call.jsonl",
        jsonl(
            {
                "messages": [
                    {"role": "user", "content": "q"},
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}],
                    },
                    {"role": "user", "content": "and?"},
                    {"role": "assistant", "content": "a"},
                ]
            }
        ),
        (("E414", "stop", 1, "messages[2]"),),
        words=("c1",),
    ),
    Case(
        "X18",
        "calls_out_of_order.jsonl",
        jsonl(
            {
                "messages": [
                    {"role": "user", "content": "q"},
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {"id": name, "function": {"name": "f", "arguments": {}}}
                            for name in ("c1", "c2")
                        ],
                    },
                    {"role": "tool", "tool_call_id": "c2", "content": "2"},
                    {"role": "tool", "tool_call_id": "c1", "content": "1"},
                    {"role": "assistant", "content": "a"},
                ]
            }
        ),
        (("E414", "stop", 1, "messages[2].tool_call_id"),),
    ),
    Case("X37", "new\nline <img onerror=x> '\".jsonl", jsonl(*good(2)), (), rows=2),
    Case("X39a", "pipe.jsonl", lambda path: os.mkfifo(path), (("E192", "stop", None, None),)),
    Case(
        "X39b",
        "zero.jsonl",
        lambda path: path.symlink_to("/dev/zero"),
        (("E193", "stop", None, None),),
    ),
    Case(
        "X39c",
        "gone.jsonl",
        lambda path: path.symlink_to(path.parent / "nowhere"),
        (("E191", "stop", None, None),),
    ),
)


def _huge_line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'{"instruction": "q", "output": "')
        for _ in range(40):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n')
        file.write(jsonl(alpaca(1)))
