"""Guess the encoding of a file that is not UTF-8: candidates that decode it, the likeliest first.

A candidate is scored by whether the decoded characters are frequent in its languages. Single-byte
encodings decode any bytes, so successful decoding alone proves nothing.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunery.data.problems import Problem, say, visible
from tunery.data.sources.alphabets import (
    ARABIC,
    CENTRAL,
    GREEK,
    HEBREW,
    RUSSIAN,
    TURKISH,
    WESTERN,
    accented,
    alphabet,
)

SAMPLE_BYTES = 256 * 1024
BLOCK_BYTES = 1024 * 1024
MAX_CANDIDATES = 3
ENOUGH = 1_000
"""If there are this many more UTF-8 lines than others, the others are considered damaged."""
SAFE = re.compile(rb"[\x00-\x2f]")
"""Bytes that are never the second byte of a character."""
RARE = 20
"""Of lines in another encoding, at most one in so many is valid UTF-8 by accident."""
MIXED = say(
    "No single encoding is right for this file: correct such rows, or write the whole file again "
    "in UTF-8."
)
LEAST = 0.15
"""Minimum score of a candidate, from 0 to 1."""

SIMPLIFIED = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后"
    "作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因"
    "只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应"
    "战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿"
    "原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太"
    "量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界"
    "达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今"
    "切院让识候带导争运笔吗呢吧请谢言字词句答案写段译数您"
)
TRADITIONAL = frozenset(
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後"
    "作裡用道行所然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因"
    "只從想實日軍者意無力它與長把機十民第公此已工使情明性知全三又關點正業外將兩高間由問很最重並物手應"
    "戰向頭文體政美相見被利什二等產或新己制身果加西斯月話合回特代內信表化老給世位次度門任常先海通教兒"
    "原東聲提立及比員解水名真論處走義各入幾口認條平系氣題活爾更別打女變四神總何電數安少報才結反受目太"
    "量再感建務做接必場件計管期市直德資命山金指克許統區保至隊形社便空決治展馬科司五基眼書非則聽白卻界"
    "達光放強即像難且權思王象完設式色路記南品住告類求據程北邊死張該交規萬取拉格望覺術領共確傳師觀清今"
    "切院讓識候帶導爭運筆嗎呢吧請謝言字詞句答案寫段譯數您臺灣裏"
)
KANJI = frozenset(
    "日一国会人年大十二本中長出三同時政事自行社見月分議後前民生連五発間対上部東者党地合市業内相方四定今"
    "回新場金員九入選立開手米力学問高代明実円関決子動京全目表戦経通外最言氏現理調体化田当八六約主題下首"
    "意法不来作性的要用制治度務強気小七成期公野協取都和統以機平総加山思家話世受区領多県続進正安設保改数"
    "記院女初北午指権心界支第産結百派点教報済書府活原先共得解名交資予川向際査勝面委告軍文反元重近千考判"
    "認画海参売利組知案道信策集在件団別物側任引使求所次水半品昨論計死官増係感特情投示変打男基私各始島直"
    "両朝革価式確村提運終挙果西勢減台広容必応演電歳住争談能無再位置企真流格有疑口過局少放税検藤町常校料"
    "沢裁状工建語球営空職証土与急止送援供可役構木割聞身費付施切由説転食比難防補車優夫研収断井何南石足違"
    "消境神番規術護展態導備宅害配副算視条幹独警宮究育席輸訪楽起万着乗店述残想線率病農州武声質念待試族象"
    "銀域助労例衛然早張映限親額監環験追審商葉義伝働形景落欧担好退準賞訴辺造英被株頭技低毎医復仕去姿味負"
    "閣韓渡失移差衆個門写評課末守若脳極種美岡影命含福蔵量望松非撃佐核観察整段横融型白深字答質猫犬朝"
)
HANGUL = frozenset(
    "이다는의에고하가을기지로를은사한리도서자시나대어아해인일정수있그라과스보들제전으장주만부조상여경원구"
    "동성국요네니면게오안내비선신세모거치유것적공미할했관우물생중방소문법업계회학화연실었데서된되무말재"
    "진트위영심개발식용마야와때없습합당행분드입명양음결예강교김년민런터까너저러외많방호등하요같위산단바"
    "현속두레차타피최파설노체건직날길잘알좋답질문한글십운령토려하설달반르디크우리집집"
)
MARKS = frozenset("，。！？、；：“”‘’（）《》「」『』【】…—·～－　％＂")
CONTROLS = re.compile("[\x00-\x08\x0e-\x19\x1c-\x1f\x7f-\x9f]")
"""Characters that no text has: binary content, or bytes at which other encodings have letters."""


@dataclass(frozen=True, slots=True)
class Guess:
    """The guess for a file that is not UTF-8.

    Args:
        encodings: Encodings that decode it to plausible text, the likeliest first; may be empty;
            only one if it is clearly likelier than any other.
        mixed: Whether its other non-ASCII lines are UTF-8, so no single encoding is right.
        sure: Whether the first encoding is clearly likelier than any other.
    """

    encodings: tuple[str, ...]
    mixed: bool
    sure: bool


def guess(path: Path) -> Guess:
    """Guess the encoding from the non-ASCII lines of a file.

    Raises:
        OSError: The file cannot be read.
    """
    info = path.stat()
    return _guess(path, info.st_size, info.st_mtime_ns)


def not_utf8(
    name: str, path: Path, piece: bytes, at: int, *, line: int | None, record: int | None
) -> Problem:
    """Make E112 for a byte that is not UTF-8, with the text around it in the likely encodings.

    Args:
        name: Name of the file in the problem.
        path: The file; its other lines are used to guess the encoding.
        piece: Bytes around the place, from the start of the line if available.
        at: Index of the byte in ``piece``.
        line: Line in the file, from 1.
        record: Number of the record, from 1, if known.
    """
    found = guess(path)
    place: dict[str, Any] = {"at": at + 1, "byte": f"{piece[at]:02X}"}
    words = [f"{each}: {visible(excerpt(piece, at, each), 24)}" for each in found.encodings]
    if words:
        what = say(
            "byte {at} (0x{byte}) is not UTF-8; it may be {words}", words="; ".join(words), **place
        )
    else:
        what = say("byte {at} (0x{byte}) is not UTF-8", **place)
    if found.mixed and words:
        what = say(
            "byte {at} (0x{byte}) is not UTF-8, unlike other rows: the file mixes encodings; "
            "here it may be {words}",
            words="; ".join(words),
            **place,
        )
        fix = MIXED
    elif found.mixed:
        what = say("byte {at} (0x{byte}) is not UTF-8, unlike other rows", **place)
        fix = say("Correct this row, or remove it.")
    elif found.sure:
        fix = say(
            "Save the file as UTF-8, or set --data.encoding {encoding}.",
            encoding=found.encodings[0],
        )
    elif words:
        fix = say(
            "Save the file as UTF-8, or set --data.encoding to the one that reads "
            "correctly: {names}.",
            names=", ".join(found.encodings),
        )
    else:
        fix = say(
            "Save the file as UTF-8, or set --data.encoding to the encoding it was written in."
        )
    return Problem("E112", name, what, fix, line=line, record=record)


def wrong_encoding(name: str, path: Path, encoding: str, why: str) -> Problem:
    """Make E112 for a file that is not in the configured encoding."""
    found = guess(path)
    if _decodes(path, "utf-8"):
        fix = say("The file is UTF-8: remove --data.encoding.")
    elif found.mixed:
        fix = MIXED
    elif found.encodings:
        names = ", ".join(found.encodings)
        fix = say("Set --data.encoding to the file's encoding, likely {names}.", names=names)
    else:
        fix = say("Set --data.encoding to the file's encoding.")
    return Problem("E112", name, say("not {encoding}: {why}", encoding=encoding, why=why), fix)


def excerpt(piece: bytes, at: int, encoding: str, limit: int = 24) -> str:
    """The text around byte ``at``, decoded, with at most ``limit`` characters."""
    start = at
    # A byte below 0x30 is never the second byte of a character.
    while start and piece[start - 1] >= 0x30 and at - start < 40:
        start -= 1
    end = at + 1
    while end < len(piece) and piece[end] not in b'"\r\n' and end - at < 60:
        end += 1
    text = piece[start:end].decode(encoding, errors="replace").rstrip("\ufffd")
    return text.strip(" '\\{}[]:,")[:limit]


@lru_cache(maxsize=16)
def _guess(path: Path, size: int, changed: int) -> Guess:
    """``guess`` with a cache; ``size`` and ``changed`` are only part of the cache key."""
    sample, good, bad = _sample(path)
    if good > bad:
        return Guess((), mixed=True, sure=False)
    mixed = good * RARE > bad
    scored: list[tuple[float, str, str]] = []
    for encoding, score_of in SCORERS:
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        if CONTROLS.search(text):
            continue
        characters = "".join(c for c in text if not c.isascii())
        score = score_of(text, characters) if characters else 0.0
        if score >= LEAST:
            scored.append((score, encoding, text))
    scored.sort(reverse=True, key=lambda each: each[0])
    kept: list[tuple[float, str, str]] = []
    for each in scored:
        likely = not kept or each[0] >= kept[0][0] / 2
        if likely and all(each[2] != other for _, _, other in kept) and _decodes(path, each[1]):
            kept.append(each)
    sure = len(kept) == 1 or (len(kept) > 1 and kept[0][0] > 1.5 * kept[1][0])
    names = tuple(name for _, name, _ in kept[: 1 if sure else MAX_CANDIDATES])
    return Guess(names, mixed=mixed, sure=sure)


def _sample(path: Path) -> tuple[bytes, int, int]:
    """Lines that are not UTF-8, the number of non-ASCII lines in UTF-8, and of all others."""
    kept: list[bytes] = []
    length = good = bad = 0
    inside = False
    with path.open("rb") as file:
        while length < SAMPLE_BYTES and good < ENOUGH + bad:
            line = file.readline(BLOCK_BYTES)
            if not line:
                break
            cut, inside = inside, not line.endswith(b"\n")
            if line.isascii():
                continue
            try:
                _whole(line, cut, inside).decode("utf-8")
                good += 1
            except UnicodeDecodeError:
                bad += 1
                kept.append(_whole(line[: SAMPLE_BYTES // 4], cut, len(line) > SAMPLE_BYTES // 4))
                length += len(kept[-1])
    return b"".join(kept), good, bad


def _whole(piece: bytes, begins: bool, ends: bool) -> bytes:
    """A piece of a line without characters that are cut at its start or end."""
    safe = SAFE.search(piece)
    if safe is None:
        return piece
    last = max(piece.rfind(byte) for byte in (b" ", b'"', b",", b"\n")) + 1
    return piece[safe.start() if begins else 0 : last if ends and last else None]


def _decodes(path: Path, encoding: str) -> bool:
    """Whether an encoding decodes the whole file."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _script(
    common: frozenset[str], first: str, last: str, usual: str | None = None
) -> Callable[[str, str], float]:
    """Make a scorer for an East Asian encoding: 1 per frequent character, less for a rare one.

    Args:
        common: Frequent characters.
        first: First character of the script.
        last: Last character of the script.
        usual: An encoding that contains only characters in normal use.
    """

    def score(text: str, characters: str) -> float:
        points = 0.0
        for c in characters:
            if c in common or c in MARKS:
                points += 1.0
            elif first <= c <= last:
                points += 0.3 if usual and _encodable(c, usual) else 0.15
        return points / len(characters)

    return score


def _encodable(character: str, encoding: str) -> bool:
    return character.encode(encoding, errors="ignore") != b""


def _japanese(text: str, characters: str) -> float:
    """Score kana and frequent kanji; half-width kana do not count: other text decodes to them."""
    points = 0.0
    kana = 0
    for c in characters:
        if "\u3041" <= c <= "\u30fe":
            kana += 1
            points += 1.0
        elif c in KANJI or c in MARKS:
            points += 0.9
        elif "\u4e00" <= c <= "\u9fff":
            points += 0.2
    return points / len(characters) if kana else 0.5 * points / len(characters)


_russian = alphabet(RUSSIAN)
SCORERS: tuple[tuple[str, Callable[[str, str], float]], ...] = (
    ("gb18030", _script(SIMPLIFIED, "\u4e00", "\u9fff", "gb2312")),
    ("big5", _script(TRADITIONAL, "\u4e00", "\u9fff")),
    ("shift_jis", _japanese),
    ("cp932", _japanese),
    ("euc_jp", _japanese),
    ("euc_kr", _script(HANGUL, "\uac00", "\ud7a3")),
    ("cp1251", _russian),
    ("koi8_r", _russian),
    ("cp1253", alphabet(GREEK)),
    ("cp1255", alphabet(HEBREW)),
    ("cp1256", alphabet(ARABIC)),
    ("cp1252", accented(WESTERN)),
    ("latin-1", accented(WESTERN)),
    ("cp1250", accented(CENTRAL, 0.95)),
    ("iso8859_2", accented(CENTRAL, 0.95)),
    ("cp1254", accented(TURKISH, 0.95)),
)
