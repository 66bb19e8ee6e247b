"""From text to words to grams, by numbered rules: a bundle keeps the rules that it was trained with."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import regex

from anthem_core.encoding.text_folding import decode_entities, fold

if TYPE_CHECKING:
    from collections.abc import Iterator

# A word is letters, digits and their combining marks, in any script: without the marks Hindi would lose its vowels.
_WORD_PATTERN = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*")

# A faster path to the same words for ASCII text, as most titles are: lower case, and spaces for everything else.
_ASCII_TRANSLATION = bytes(ord(chr(code).lower()) if chr(code).isalnum() else 32 for code in range(128)) + bytes(128)

# ASCII text of these characters alone has the same words under both versions.
_PLAIN_ASCII = bytes(set(range(128)) - set(b"0123456789&'`"))
_DIGITS = frozenset("0123456789")
_WITHOUT_SEPARATORS = str.maketrans("", "", "./")

# Scripts that put no spaces between words.
_UNSPACED = r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー]&&[\p{L}\p{N}]]"
_UNSPACED_RUN = rf"(?:{_UNSPACED}\p{{M}}*)+"
_SPACED_RUN = rf"(?:[[\p{{L}}\p{{N}}]--{_UNSPACED}]\p{{M}}*|(?<=[0-9])[./](?=[0-9]))+"
_ANY_TOKEN = regex.compile(rf"{_UNSPACED_RUN}|{_SPACED_RUN}", regex.VERSION1)
_ASCII_TOKEN = re.compile(r"(?:[a-z0-9]|(?<=[0-9])[./](?=[0-9]))+")
_STARTS_UNSPACED = regex.compile(_UNSPACED, regex.VERSION1)
_CLUSTER = regex.compile(r"\P{M}\p{M}*")

# Spellings of units after a number, by the form that replaces them.
_UNIT_SPELLINGS = {
    "v": "v volt volts",
    "w": "w watt watts",
    "amp": "a amp amps ampere amperes",
    "inch": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard yards",
    "mm": "mm",
    "cm": "cm",
    "m": "m meter meters metre metres",
    "oz": "oz ounce ounces",
    "lb": "lb lbs pound pounds",
    "g": "g gram grams",
    "mg": "mg",
    "kg": "kg",
    "ml": "ml",
    "l": "l liter liters litre litres",
    "qt": "qt quart quarts",
    "gal": "gal gallon gallons",
    "hz": "hz hertz",
    "mhz": "mhz",
    "ghz": "ghz",
    "mb": "mb",
    "gb": "gb",
    "tb": "tb",
    "mah": "mah",
    "btu": "btu btus",
    "gpm": "gpm",
    "gpf": "gpf",
    "cfm": "cfm",
    "psi": "psi",
    "rpm": "rpm",
    "pk": "pk",
    "pack": "pack",
    "ct": "ct",
    "count": "count",
    "pc": "pc pcs",
}
_UNIT_FORMS = {spelling: unit for unit, spellings in _UNIT_SPELLINGS.items() for spelling in spellings.split()}
_GLUED_ONLY = frozenset({"a"})  # an article where it stands alone
_UNIT_WORDS = frozenset(spelling for spelling, unit in _UNIT_FORMS.items() if spelling != unit) - _GLUED_ONLY
_LONG_UNIT = "|".join(unit for unit in sorted(_UNIT_FORMS, key=len, reverse=True) if len(unit) > 1)
# A letter after a single digit may be no unit: 3M is a company, 5G a network, 2A more often a variant than a current.
_ONE_DIGIT = r"(?<![0-9./])"
_UNIT = rf"(?:{_LONG_UNIT}|[vwl]|(?<!{_ONE_DIGIT}3)m|(?<!{_ONE_DIGIT}[2-6])g|(?<!{_ONE_DIGIT}[0-9])a)"

_FRACTION = r"[0-9]/[0-9]{3,4}|[0-9]{1,2}/[0-9]{1,2}"
_AMOUNT = rf"(?:{_FRACTION}|[0-9]+(?:\.[0-9]+)*)"
_MEASURE = re.compile(rf"{_AMOUNT}(?:{_UNIT})?(?:x{_AMOUNT}(?:{_UNIT})?)*")
_MEASURE_PART = re.compile(rf"{_AMOUNT}|{_UNIT}|x")
_SEPARATED = re.compile(r"(?<![0-9])([0-9]+(?:[./][0-9]+)+)")
_IS_FRACTION = re.compile(_FRACTION)

_QUOTED = re.compile(r'(?<![^\s(\[])["“„](?=\S)([^"“”„]*)["”“]')
_UNIT_AFTER_COMMA = "|".join(sorted(_UNIT_FORMS.keys() - {"a", "in"}, key=len, reverse=True))
_COMMA_BEFORE_UNIT = re.compile(
    rf"([0-9](?<![0-9.,][0-9])[0-9]*),([0-9]{{1,2}})(?=[ -]?(?:{_UNIT_AFTER_COMMA})\b)", re.IGNORECASE
)
_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_ZERO_COMMA = re.compile(r"(?<![0-9.,])(0),([0-9]+)(?![0-9]|[,.][0-9])")
_LEADING_DOT = re.compile(r"(?<![^\W_])(?<![.,])(?=\.[0-9])")
_INCH_SIGN = re.compile(r"(?<=[0-9])(?:\"|'')(x(?=[0-9]))?")
_FOOT_SIGN = re.compile(r"(?<=[0-9])'(?!s)(x(?=[0-9]))?")
_APOSTROPHE = re.compile(r"(?<=[^\W_])'(?=[^\W_])")

MAX_CACHED_CHUNKS = 2**16  # 16 MB at most
_MAX_CACHED_CHUNK_LENGTH = 32  # characters

_DESCRIPTION_1 = {"normal_form": "NFKC, casefold, NFKC", "word": _WORD_PATTERN.pattern, "word_end": "#", "gram": 3}
_DESCRIPTION_2 = {
    "version": 2,
    "normal_form": "entities and signs decoded, NFKD, casefold, accents folded, NFKC, digits 0-9",
    "word": "decimals, fractions, measures as number and unit, runs of a script with or without spaces",
    "word_end": "#",
    "gram": 3,
    "gram_without_spaces": "1 and 2 characters with their marks",
}
_DESCRIPTIONS = {1: _DESCRIPTION_1, 2: _DESCRIPTION_2}


@dataclass(frozen=True)
class TextRules:
    """How text becomes words, and words become grams; `version` names the rules."""

    version: int

    def split_words(self, text: str) -> list[str]:
        """Words of a text, normalised, in order."""
        return _split_words_1(text) if self.version == 1 else _split_words_2(text)

    def word_grams(self, word: str) -> list[str]:
        """Overlapping trigrams of `#word#`: a word of n characters gives n, `"red"` gives `#re red ed#`.

        From version 2, a word of a script without spaces gives characters and pairs of them: `手机` gives `手 手机 机`.
        """
        if self.version > 1 and not word.isascii() and _STARTS_UNSPACED.match(word):
            return _singles_and_pairs(word)
        return _trigrams(word)

    def to_dict(self) -> dict[str, Any]:
        """Description of the rules for a bundle's manifest."""
        return dict(_DESCRIPTIONS[self.version])


RULES_1 = TextRules(1)
RULES_2 = TextRules(2)
LATEST_RULES = RULES_2
TEXT_RULES = {rules.version: rules for rules in (RULES_1, RULES_2)}


def _split_words_1(text: str) -> list[str]:
    if text.isascii():
        return text.encode("ascii").translate(_ASCII_TRANSLATION).decode("ascii").split()
    normal = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words: list[str] = _WORD_PATTERN.findall(normal)
    return words


def _trigrams(word: str) -> list[str]:
    padded = f"#{word}#"
    return [padded[start : start + 3] for start in range(len(word))]


def _singles_and_pairs(word: str) -> list[str]:
    units: list[str] = _CLUSTER.findall(word)
    pairs = chain.from_iterable((first, first + second) for first, second in pairwise(units))
    return [*pairs, units[-1]]


def _split_words_2(text: str) -> list[str]:
    if _is_plain(text):
        return _split_words_1(text)
    if "&" in text:
        text = decode_entities(text)
    if '"' in text or "”" in text or "“" in text:
        text = _QUOTED.sub(r" \1 ", text)
    if "," in text:
        text = _COMMA_BEFORE_UNIT.sub(r"\1.\2", text)
    words = list(chain.from_iterable(map(_chunk_words.__getitem__, text.split())))
    return words if _UNIT_WORDS.isdisjoint(words) else _shorten_units(words)


def _is_plain(text: str) -> bool:
    return text.isascii() and not text.encode("ascii").translate(None, _PLAIN_ASCII)


def _shorten_units(words: list[str]) -> list[str]:
    """Give every unit after a number its one form; `in` between two numbers is a preposition (3 in 1)."""
    for place, word in enumerate(words):
        if word in _UNIT_WORDS and place and _is_amount(words[place - 1]):
            is_preposition = word == "in" and place + 1 < len(words) and words[place + 1].isdigit()
            words[place] = word if is_preposition else _UNIT_FORMS[word]
    return words


def _is_amount(word: str) -> bool:
    return word[0] in _DIGITS and (word.isdigit() or word.translate(_WITHOUT_SEPARATORS).isdigit())


class _ChunkWords(dict[str, tuple[str, ...]]):
    """Words of a chunk, the text between two spaces, computed at first use; bounded in memory."""

    def __missing__(self, chunk: str) -> tuple[str, ...]:
        """Split a chunk, and keep its words unless it is too long to be worth caching."""
        words = tuple(_split_words_1(chunk) if _is_plain(chunk) else _split_chunk(chunk))
        if len(chunk) <= _MAX_CACHED_CHUNK_LENGTH:
            if len(self) >= MAX_CACHED_CHUNKS:
                self.clear()
            self[chunk] = words
        return words


_chunk_words = _ChunkWords()


def _split_chunk(chunk: str) -> Iterator[str]:
    text = chunk.lower() if chunk.isascii() else fold(chunk)
    text = _spell_numbers(text.replace("`", "'"))
    if "'" in text:
        text = _APOSTROPHE.sub("", text)
    tokens = _ASCII_TOKEN if text.isascii() else _ANY_TOKEN
    return chain.from_iterable(map(_split_token, tokens.findall(text)))


def _spell_numbers(text: str) -> str:
    """Write numbers with dots as their only separators, and the signs of inches and feet as words."""
    if "," in text:
        text = _ZERO_COMMA.sub(r"\1.\2", _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text))
    if "." in text:
        text = _LEADING_DOT.sub("0", text)
    if '"' in text or "'" in text:
        text = _FOOT_SIGN.sub(r" ft \1 ", _INCH_SIGN.sub(r" inch \1 ", text))
    return text


def _split_token(token: str) -> Iterator[str]:
    """Numbers and units of a measure (2x4ft), or decimals, fractions and the rest of another token (usb3.0)."""
    if token.isalpha() or token.isdigit():
        yield token
    elif _MEASURE.fullmatch(token):
        yield from (_UNIT_FORMS.get(part, part) for part in _MEASURE_PART.findall(token))
    elif len(parts := _SEPARATED.split(token)) == 1:
        yield token
    else:
        for part in filter(None, parts):
            yield from _split_number(part) if _SEPARATED.fullmatch(part) else _split_token(part)


def _split_number(number: str) -> list[str]:
    """`1.5`, `1.2.3` and `5/8` are one number each; `120/240` and `12/25/2015` are several."""
    return [number] if _IS_FRACTION.fullmatch(number) else number.split("/")
