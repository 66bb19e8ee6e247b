"""From characters to the letters and digits that they count as: the first half of the text rules, version 2."""

from __future__ import annotations

import re
import unicodedata
from html.entities import html5
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from collections.abc import Iterator

# Marks on these letters are accents, points or stress. Elsewhere they are vowels (Hindi) or make new letters (が).
_ACCENTED_ASCII = re.compile("[A-Za-z0-9][A-Za-z0-9\u0300-\u036f]+")  # most accents: a run is folded at once
_ACCENTED = regex.compile(r"([\p{Latin}\p{Greek}\p{Hebrew}\p{N}])\p{M}+")
_CYRILLIC = regex.compile(r"(\p{Cyrillic})(\p{M}+)")
_ARABIC = regex.compile(r"(\p{Arabic})(\p{M}+)")
_STRESS = regex.compile("[\u0300\u0301]")
_DIAERESIS = "\u0308"
_HAMZA_AND_MADDA = regex.compile("[^\u0653-\u0655]")  # on every letter but alef, these make another letter

_INVISIBLE = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}\u0640]+")  # U+0640 lengthens Arabic words
_OTHER_NUMBER = regex.compile(r"\p{No}+")  # fractions, superscripts, circled digits
_OTHER_DIGITS = regex.compile(r"[\p{Nd}--[0-9]]+", regex.VERSION1)
_RAISED = ("<super>", "<sub>")
_MAX_MARKS = 8  # on the letter before a number
_TRAILING_MARKS = regex.compile(r"\p{M}+\Z")

_ENTITY = regex.compile(r"&(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{1,31}));")

_SIGNS = str.maketrans({
    **dict.fromkeys("™℠®©℗ⒸⓒⓇⓡ\U0001f16a\U0001f16b\U0001f16cªº°", " "),
    **dict.fromkeys("’‘‛ʼʻʹ´`′‵׳＇", "'"),
    **dict.fromkeys("“”„‟״″‶＂", '"'),
    "×": "x",
    "µ": "u",  # the micro sign; NFKC would make it a Greek letter
    "⁄": "/",
    "∕": "/",
    "٫": ".",
    "٬": ",",
})  # fmt: skip
_HAS_SIGN = re.compile(f"[{''.join(map(chr, _SIGNS))}]")  # searching is ten times faster than translating


def _base_letters() -> Iterator[tuple[str, str]]:
    """Letters that are others with a stroke, hook or tail, which Unicode does not decompose: ø, ł, đ, ħ."""
    for first, last in ((0x80, 0x2AF), (0x1D6C, 0x1D9A), (0x2C60, 0x2C7F), (0xA740, 0xA7CA)):
        for letter in map(chr, range(first, last + 1)):
            name = unicodedata.name(letter, "").split(" WITH ")
            if len(name) == 2 and name[0].startswith("LATIN SMALL LETTER ") and len(name[0]) == 20:
                yield letter, name[0][-1].lower()


_LETTERS = str.maketrans(
    {**dict(_base_letters()), "ı": "i", "ȷ": "j", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ŋ": "n"}
)


def decode_entities(text: str) -> str:
    """Text with its HTML entities decoded, once; unknown ones and those without a semicolon stay."""
    return _ENTITY.sub(_decode_entity, text)


def _decode_entity(match: regex.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name is not None:
        return html5.get(f"{name};") or html5.get(f"{name.lower()};") or match[0]
    code = int(decimal) if decimal is not None else int(hexadecimal, 16)
    if 0x80 <= code < 0xA0:  # Windows-1252, as browsers read them
        return bytes([code]).decode("cp1252", "replace")
    return chr(code) if code < 0x110000 else " "


def fold(text: str) -> str:
    """Text in the form that is compared: without accents, case, compatibility forms or invisible characters."""
    text = _INVISIBLE.sub("", _fold_signs(text))
    text = _OTHER_NUMBER.sub(_spell_number, text)
    for _ in range(2):  # casefold may turn marks into letters, and letters into marks
        text = _fold_marks(unicodedata.normalize("NFKD", text)).casefold()
    if text.isascii():
        return _fold_signs(text)
    text = _INVISIBLE.sub("", _fold_signs(text.translate(_LETTERS)))
    return unicodedata.normalize("NFKC", _OTHER_DIGITS.sub(_fold_digits, text))


def _fold_signs(text: str) -> str:
    return text.translate(_SIGNS) if _HAS_SIGN.search(text) else text


def _fold_digits(match: regex.Match[str]) -> str:
    return "".join(str(unicodedata.decimal(digit, digit)) for digit in match[0])


def _spell_number(match: regex.Match[str]) -> str:
    """Raised and lowered digits join a letter (m², H₂O) but no digit (10³); other numbers stand apart (1½, ①②)."""
    characters, start = match[0], match.start()
    before = _TRAILING_MARKS.sub("", match.string[max(0, start - _MAX_MARKS) : start])[-1:]
    if before.isalpha() and all(unicodedata.decomposition(each).startswith(_RAISED) for each in characters):
        return characters
    return " " + " ".join(characters)


def _fold_marks(text: str) -> str:
    text = _ACCENTED_ASCII.sub(lambda match: match[0].encode("ascii", "ignore").decode("ascii"), text)
    if text.isascii():
        return text
    text = _ACCENTED.sub(r"\1", text)
    text = _CYRILLIC.sub(_fold_cyrillic, text)
    return _ARABIC.sub(_fold_arabic, text)


def _fold_cyrillic(match: regex.Match[str]) -> str:
    """Stress folds, and ё is е; й, ї, ў, ѓ and ќ are letters of their own."""
    letter, marks = match.groups()
    if letter not in "гк":
        marks = _STRESS.sub("", marks)
    return letter + (marks.replace(_DIAERESIS, "") if letter == "е" else marks)


def _fold_arabic(match: regex.Match[str]) -> str:
    """Vowel points fold, and hamza and madda on alef; ؤ and ئ are letters of their own."""
    letter, marks = match.groups()
    return letter if letter == "ا" else letter + _HAMZA_AND_MADDA.sub("", marks)
