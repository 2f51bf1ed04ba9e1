"""How plausible a decoded text is in languages with an alphabet, from 0 to 1.

Single-byte encodings decode any bytes, and their letters lie at the same bytes, so only how often
the letters occur tells one script from another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

QUOTES = frozenset("‘’“”„‚«»–—…•€£©®°·×¿¡ªº§")
ALONE = 0.25
"""Factor of a text in which no two letters of the script are beside each other."""
FINAL = frozenset("ςםןףץך")
"""Letters that only end words."""

# Letters of each script, the frequent ones first; about three quarters of a text are frequent.
RUSSIAN = ("оеаинтсрвлкмд", "пуяыьгзбчйхжшюцщэфъё", "іїєґўјљњћџ")
GREEK = ("αοιετσςνηυρπκμλίάόέή", "ωδγχθφβξζψύώϊϋΐΰ", "")
ARABIC = ("اليمنورتبهعدسفكقة", "أحجشصطخغذزضثظىءئإآؤ", "،؟؛ًٌٍَُِّْ")
HEBREW = ("יוהלארתבשמםנ", "עדחקפסטגצזכןףץך", "")

WESTERN = (
    *("éèêëàâçîïôùûüœæÿ", "äöüß", "ñáéíóúü¿¡", "ãõáéíóúâêôçà", "àèéìòù"),
    *("åäöæøé", "áéíóúýþæöð", "éëïóöü"),
)
"""The letters of each language beyond a to z."""
CENTRAL = ("áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "ąćęłńóśźż", "áéíóöőúüű", "čćđšž", "ăâîșțşţ")
TURKISH = ("çğıöşüİâî",)


def alphabet(letters: Sequence[str]) -> Callable[[str, str], float]:
    """Make a scorer for a script other than Latin.

    Args:
        letters: Its frequent letters, its other letters, and those of related languages.

    Returns:
        A function of the text and its non-ASCII characters.
    """
    weights = (1.0, 0.6, 0.3)
    points_of = {c: points for each, points in zip(letters, weights, strict=True) for c in each}

    cased = letters[0].islower()

    def score(text: str, characters: str) -> float:
        points = 0.0
        capitals = wrong = small = pairs = 0
        before = ""
        for c in text:
            if not c.isascii():
                points += points_of.get(c.lower(), 0.0)
                points += 0.3 if c in QUOTES or c == "№" else 0.0
                capitals += before.islower() and c.isupper()
                small += c.islower()
            if c.isalpha() and before.isalpha():
                # Words of two alphabets, or a letter after one that only ends words.
                wrong += c.isascii() != before.isascii() or before in FINAL
                pairs += not c.isascii() and not before.isascii()
            before = c
        points -= 0.8 * capitals + 1.0 * wrong
        usual = not cased or small * 2 >= len(characters)
        whole = 1.0 if pairs else ALONE  # a word of the script has more than one of its letters
        return max(0.0, points / len(characters)) * (1.0 if usual else 0.5) * whole

    return score


def accented(languages: Sequence[str], weight: float = 1.0) -> Callable[[str, str], float]:
    """Make a scorer for accented letters among letters from a to z.

    Args:
        languages: The accented letters of each language; the best language counts.
        weight: Factor of the score, to prefer one of two encodings that are equally likely.

    Returns:
        A function of the text and its non-ASCII characters.
    """

    def score(text: str, characters: str) -> float:
        totals = [0.0] * len(languages)
        for i, c in enumerate(text):
            if c.isascii():
                continue
            around = text[max(0, i - 1) : i] + text[i + 1 : i + 2]
            if c.isalpha() and c not in "ªº":
                beside = any(each.isascii() and each.isalpha() for each in around)
                word = 0.1 if any(map(str.isalpha, around)) else 0.5  # such as "à"
                for at, language in enumerate(languages):
                    inside = c in language or c.lower() in language
                    totals[at] += (1.0 if inside else 0.4) if beside else word if inside else 0.1
            elif c in QUOTES:
                alone = not any(each.isalpha() and not each.isascii() for each in around)
                totals = [each + (0.8 if alone else 0.1) for each in totals]
        return weight * max(totals) / len(characters)

    return score
