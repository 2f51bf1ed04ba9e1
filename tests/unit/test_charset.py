"""The encoding of a file that is not UTF-8 is ranked by what its characters say (B1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunery.data.catalog import find
from tunery.data.lint import CheckOptions, check
from tunery.data.problems import Problem
from tunery.data.sources.charset import excerpt, guess

TEXTS = {
    "gb18030": ["你好", "请把下面的句子翻译成英文：今天天气很好。", "写一首关于秋天的诗", "苹果"],
    "big5": ["你好", "請將下列句子翻譯成英文：今天天氣很好。", "什麼是機器學習？"],
    "shift_jis": ["こんにちは", "日本の首都は東京です。", "カメラ", "富士山の高さは?"],
    "euc_jp": ["日本の首都は東京です。"],
    "euc_kr": ["안녕하세요", "다음 문장을 영어로 번역하세요.", "오늘 날씨가 좋네요"],
    "cp1251": ["Привет", "Переведи предложение на английский язык."],
    "koi8_r": ["Какая столица Франции?"],
    "cp1253": ["Καλημέρα, τι κάνεις;", "Ποια είναι η πρωτεύουσα της Ελλάδας;"],
    "cp1255": ["מה בירת צרפת?", "שלום, מה שלומך היום?"],
    "cp1256": ["مرحبا كيف حالك اليوم", "ما هي عاصمة فرنسا؟"],
    "cp1250": [
        "Příliš žluťoučký kůň",
        "Gdzie jest najbliższa stacja? Dziękuję",
        "Őszi esőzés, fűtés",
    ],
    "iso8859_2": ["Příliš žluťoučký kůň"],
    "cp1254": ["Türkiye'nin başkenti neresi, değişik ışık"],
    "cp1252": [
        *("Où est la bibliothèque où l'élève a été?", "Søren går på skolen i Århus"),
        "café",
        "Größe der Straße",
        "¿Dónde está?",
        "El niño comió",
        "naïve – “quoted”",
    ],
}


@pytest.mark.parametrize(
    ("encoding", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts]
)
def test_the_likeliest_encoding_of_a_short_text_is_its_own(
    encoding: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    content = f'{{"instruction": "{text}", "output": "ok"}}\n'.encode(encoding)
    path.write_bytes(content + b'{"instruction": "plain", "output": "x"}\n')
    found = guess(path)
    assert found.encodings[0] == encoding
    assert not found.mixed
    at = next(i for i, byte in enumerate(content) if byte > 127)
    assert excerpt(content, at, encoding) in text


def test_beside_a_certain_encoding_no_other_is_offered(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = "question,answer\n蓝鹭酒馆几点关门？,蓝鹭酒馆平日午夜关门，周末凌晨两点。\n"
    path.write_bytes(rows.encode("gb18030"))
    found = guess(path)
    assert found.sure
    assert found.encodings == ("gb18030",)


def test_letters_at_the_bytes_of_controls_are_not_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"text": "Příliš žluť"}\n'.encode("cp1250"))
    assert "latin-1" not in guess(path).encodings


def test_one_damaged_row_among_utf_8_rows_is_no_other_encoding(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = ['{"text": "你好"}\n'.encode()] * 3 + ['{"text": "你好"}\n'.encode("gbk")]
    path.write_bytes(b"".join(rows))
    assert guess(path).mixed


def test_an_encoding_that_fails_late_in_the_file_is_not_offered(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_bytes("今天天气很好。\n".encode("gbk") * 40_000 + b"\xff\xff\n")
    assert "gb18030" not in guess(path).encodings


def test_a_long_line_is_read_in_whole_characters(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    row = '{"instruction": "请翻译", "output": "今天天气很好"}'
    path.write_bytes(("[" + ", ".join([row] * 60_000) + "]").encode("gbk"))
    assert guess(path).encodings[0] == "gb18030"
    path.write_bytes(("[" + ", ".join([row] * 60_000) + "]").encode() + b"\xff")
    assert guess(path).mixed


def problem(path: Path) -> Problem:
    return check(find(str(path)), CheckOptions()).problems()[0]


@pytest.mark.parametrize("text", ["é", "à", "ñ", "Ä", "où est-il ? à Paris"])
def test_letters_that_stand_alone_are_western(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(f'{{"prompt":"a","completion":"{text}"}}\n'.encode("cp1252"))
    assert guess(path).encodings[0] == "cp1252"
    assert not guess(path).mixed


def test_a_file_of_two_encodings_is_offered_no_single_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = '{"prompt":"a","completion":"é"}\n'
    path.write_bytes(row.encode() + row.encode("latin-1"))
    found = problem(path)
    assert (found.code, found.line) == ("E112", 2)
    assert "the file mixes encodings; here it may be cp1252: é" in str(found.found)
    assert str(found.fix).startswith("No single encoding is right for this file")
    wrong = check(find(str(path)), CheckOptions(encoding="ascii"))
    assert wrong.groups["E112"].examples[0].fix == found.fix


def test_a_line_that_is_utf_8_by_accident_does_not_hide_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_bytes("今天天气很好。\n".encode("gbk") * 40 + "联通\n".encode("gbk"))
    found = guess(path)
    assert (found.encodings[0], found.mixed) == ("gb18030", False)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x80\x04K\x01.", "a Python pickle, not a data file"),
        (b"\x80\x05\x95\x10\x00\x00\x00", "a Python pickle, not a data file"),
        (b"\xaa\x01\x02\x03 binary \x04\x05", "binary content, not text"),
    ],
)
def test_binary_content_is_offered_no_encoding(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    found = problem(path)
    assert (found.code, str(found.found)) == ("E119", what)
    assert "encoding" not in str(found.fix)
