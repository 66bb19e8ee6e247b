"""Text rules: spellings of one thing have the same words, different things do not, and words are read as themselves."""

import itertools
import string
import sys
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding import text_rules
from anthem_core.encoding.text_rules import LATEST_RULES, RULES_1, RULES_2, TEXT_RULES

split_words = RULES_2.split_words
any_text = st.text(st.characters(exclude_categories=()))
# Texts of what the rules are about, so that the laws meet it often.
PIECES = [
    *"0123456789",
    *" .,/'\"’”x-&;",
    *"vamlgs",
    "in",
    "volts",
    "½",
    "²",
    "①",
    "é",
    "й",
    "が",
    "手",
    "กู",
    "ß",
    "İ",
    "™",
]
PIECES += ["\u200d", "\u0301", "٫", "٥", "×", "″", "&amp;", "&quot;", "0,5", "1,000", "१", "अ", "한"]
dense_text = st.lists(st.sampled_from(PIECES), max_size=16).map("".join)
latin_words = st.text(string.ascii_lowercase, min_size=1, max_size=9)
small_numbers = st.integers(0, 999)
NO_TEXT = {"Cn", "Co", "Cs"}  # unassigned, private and surrogate code points

ALIKE = {
    "accents": [
        ["Pokémon", "pokemon", "POKE\u0301MON"],
        ["Müller", "muller"],
        ["naïve crème brûlée", "naive creme brulee"],
        ["Kærlighed Smørrebrød", "kaerlighed smorrebrod"],
        ["Łódź Đồng Ħamrun", "lodz dong hamrun"],
        ["Straße", "STRASSE", "strasse", "STRAẞE"],
        ["œuvre", "oeuvre"],
        ["καφές", "ΚΑΦΕΣ", "καφεσ"],
        ["ёлка", "елка", "Ёлка"],
        ["замо́к", "замок"],
        ["قَلَم", "قلم", "قـلـم"],
        ["أحمر", "احمر"],
        ["סֵפֶר", "ספר"],
        ["IŞIKLI AYNA", "ışıklı ayna", "isikli ayna"],
        ["İPLİK", "iplik", "ıplık"],
    ],
    "numbers": [
        [".5 oz", "0.5 oz", "0,5 oz", "٠٫٥ oz"],
        ["1,000", "1000", "１０００", "١٬٠٠٠"],
        ["10,000.50", "10000.50"],
        ["1½", "1 1/2", "1-1/2", "1 1⁄2", "1 ½", "1&frac12;"],
        ["½", "1/2", "1⁄2", "１／２"],
        ["size 5.", "size 5"],
        ["1,5 l", "1.5 l", "1,5l", "1.5L", "1.5 litres"],
        ["5️⃣", "5", "⑤"],
        ["USB 3.0", "usb3.0"],
    ],
    "units": [
        ["12V", "12-volt", "12 volt", "12 volts", "12 v", "12-Volts"],
        ['3/4"', "3/4 in.", "3/4-inch", "¾ inches", "3/4in", "¾″", "3/4&quot;", "3/4''"],
        ["5'6\"", "5 ft. 6 in.", "5′ 6″", "5ft 6in", "5’ 6”"],
        ["500G", "500 grams", "500-gram"],
        ["15A", "15 amp", "15-amps"],
        ["50 lb.", "50lbs", "50-pound"],
        ["2x4", "2 x 4", "2×4", "2 X 4"],
        ['18"x28"', "18 in. x 28 in.", "18inx28in"],
        ["1-1/2x23ft", "1 1/2 x 23 feet"],
    ],
    "signs": [
        ["Kleenex™", "kleenex", "Kleenex®", "Kleenex ©", "Kleenex℠", "Kleenex&trade;"],
        ["Lego™Duplo", "lego duplo"],
        ["hand\u00adbag", "hand\u200bbag", "hand\u2060bag", "\ufeffhandbag", "\u200ehandbag"],
        ["می\u200cخواهم", "میخواهم"],
        ["20º", "20°", "20"],
        ["caf&eacute; &amp; bar", "café & bar", "caf&#233; &#x26; bar"],
        ["men's", "men’s", "mens", "menʼs", "men`s", "men&#39;s"],
        ["L'Oréal", "loreal", "L’OREAL"],
        ["rock 'n' roll", "rock n roll"],
    ],
}
DIFFERENT = [
    ("0.5", "5.0"),
    ("1.5", "5.1"),
    ("1.5", "15"),
    ("5/8", "8/5"),
    ("1/2", "12"),
    ("1½", "11/2"),
    ("10³", "103"),
    ("йод", "иод"),
    ("їжак", "іжак"),
    ("が", "か"),
    ("パン", "ハン"),
    ("कि", "की"),
    ("ที", "ทู"),
    ("কি", "কু"),
    ("கி", "கு"),
    ("မိ", "မု"),
    ("គិ", "គុ"),
    ("각", "가"),
    ("شأن", "شؤن"),
    ("3M", "3 m"),
    ("AT&T", "att"),
    ("&amp;quot;", "&quot;"),
]
WORDS = {
    "8,9,10": ["8", "9", "10"],
    "sizes 8,9": ["sizes", "8", "9"],
    "0,5,1": ["0", "5", "1"],
    "1.2.3": ["1.2.3"],
    "12/25/2015": ["12", "25", "2015"],
    "120/240-Volt": ["120", "240", "v"],
    "scale 1/144": ["scale", "1/144"],
    "802.11b": ["802.11", "b"],
    "DCD771C2": ["dcd771c2"],
    "3-in-1": ["3", "in", "1"],
    "a 15 a day": ["a", "15", "a", "day"],
    '"Area 51" poster': ["area", "51", "poster"],
    "„Gleis 9“ 5“": ["gleis", "9", "5", "inch"],
    "5G 3M 4K": ["5g", "3m", "4k"],
    "m² H₂O": ["m2", "h2o"],
    "No.5": ["no", "5"],
    "&amp;quot;": ["quot"],
    "AT&T R&D;": ["at", "t", "r", "d"],
    "iPhone手机壳": ["iphone", "手机壳"],
    "テレビ55インチ": ["テレビ", "55", "インチ"],
    "ﾃﾚﾋﾞ": ["テレビ"],
    "ปลั๊ก5V": ["ปลั๊ก", "5", "v"],
    "টিভি टीवी": ["টিভি", "टीवी"],
    "™ ® \u200d 📺 —": [],
}
# Two words of each script without spaces, the first inside the second.
INSIDE = {
    "Han": ("手机", "苹果手机壳"),
    "Katakana": ("ケース", "スマホケース"),
    "Kana and Han": ("掃除機", "コードレス掃除機の紙パック"),
    "Thai": ("กระเป๋า", "ผ้ากระเป๋าเดินทาง"),
    "Lao": ("ໂທລະສັບ", "ເຄສໂທລະສັບ"),
    "Khmer": ("ទូរស័ព្ទ", "ស្រោមទូរស័ព្ទដៃ"),
    "Burmese": ("ဖုန်း", "လက်ကိုင်ဖုန်းအိတ်"),
}
UNITS = {"v": "V volt Volts", "ft": "ft foot feet", "lb": "lb LBS pound", "kg": "kg KG", "gal": "gal gallons Gallon"}


def grams_of(text):
    """Set of the grams of a text."""
    return {gram for word in split_words(text) for gram in RULES_2.word_grams(word)}


@given(any_text | dense_text)
def test_joined_words_are_the_same_words(text):
    """The words of a text, joined by spaces, are read as the same words, and so is each word alone."""
    words = split_words(text)
    assert split_words(" ".join(words)) == words
    assert all(split_words(word) == [word] for word in words)


@given(any_text | dense_text)
def test_every_word_has_a_letter_or_a_digit(text):
    """No word is empty or consists of marks or signs alone, and each has grams."""
    for word in split_words(text):
        assert regex.search(r"[\p{L}\p{N}]", word)
        assert RULES_2.word_grams(word)


def test_every_character_is_read_once():
    """The words of any single assigned character are read as themselves."""
    assigned = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in NO_TEXT)
    words = {tuple(split_words(character)) for character in assigned}
    assert [found for found in words if split_words(" ".join(found)) != list(found)] == []


@given(st.text(string.ascii_letters + " -!()\n"))
def test_plain_words_are_those_of_version_1(text):
    """ASCII letters between spaces and ordinary punctuation are the same words under both versions."""
    assert split_words(text) == RULES_1.split_words(text)


@given(any_text)
def test_version_1_is_what_old_bundles_were_trained_with(text):
    """Version 1 finds letters, digits and their marks after NFKC and casefold, and cuts all words into trigrams."""
    normal = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words = regex.findall(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*", normal)
    assert RULES_1.split_words(text) == words
    assert all("".join(gram[1] for gram in RULES_1.word_grams(word)) == word for word in words)


@pytest.mark.parametrize(
    "spellings", list(itertools.chain.from_iterable(ALIKE.values())), ids=lambda spellings: spellings[0]
)
def test_what_reads_alike_has_the_same_words(spellings):
    """Spellings of one thing have the same words, at least one."""
    words = {spelling: split_words(spelling) for spelling in spellings}
    assert words == dict.fromkeys(spellings, split_words(spellings[0]))
    assert split_words(spellings[0])


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_keeps_its_difference(one, other):
    """Numbers, letters of their own kind and vowels are not folded into others."""
    assert split_words(one) != split_words(other)


@pytest.mark.parametrize("text", WORDS)
def test_words_of_examples(text):
    """Lists are no decimals, dates and alternatives no fractions; model numbers, quotations and scripts stay apart."""
    assert split_words(text) == WORDS[text]


@given(latin_words, st.lists(st.characters(min_codepoint=0x300, max_codepoint=0x36F), min_size=1, max_size=3))
def test_any_accent_on_a_latin_letter_folds(word, marks):
    """Marks after a Latin letter change nothing, composed or not."""
    decomposed = word + "".join(marks).replace("\u034f", "")
    assert split_words(unicodedata.normalize("NFC", decomposed)) == split_words(decomposed) == split_words(word)


@given(st.integers(0, 99), st.integers(0, 99))
def test_decimals_of_swapped_digits_share_no_gram(whole, part):
    """1.5 and 5.1 have no gram in common, and neither have a decimal and the whole number of its digits."""
    number, swapped, glued = f"{whole}.{part}", f"{part}.{whole}", f"{whole}{part}"
    assert split_words(number) == [number]
    starts = [str(value)[0] for value in (whole, part)]
    ends = [str(value)[-1] for value in (whole, part)]
    if len(set(starts)) == len(set(ends)) == 2 and max(whole, part) < 10:
        assert not grams_of(number) & grams_of(swapped)
    assert number not in split_words(glued)


@given(st.integers(0, 10**12), st.integers(0, 99))
def test_thousands_commas_do_not_matter(whole, part):
    """A number with commas between its thousands is the number without them, with decimals or not."""
    assert split_words(f"{whole:,}") == split_words(f"{whole}")
    assert split_words(f"pack of {whole:,}.{part:02}, new") == split_words(f"pack of {whole}.{part:02} new")


@given(small_numbers, st.sampled_from("¼½¾⅓⅔⅛⅜⅝⅞"))
def test_a_fraction_character_is_its_fraction(whole, fraction):
    """A vulgar fraction after a number, glued or not, is the fraction spelled with a slash."""
    spelled = unicodedata.normalize("NFKC", fraction).replace("⁄", "/")
    assert split_words(f"{whole}{fraction}") == split_words(f"{whole} {spelled}") == [str(whole), spelled]


@given(small_numbers, st.sampled_from([0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0x1040, 0x17E0, 0xFF10, 0x1D7CE]))
def test_digits_of_other_scripts_are_digits(number, zero):
    """Digits of any script are those of ASCII."""
    assert split_words("".join(chr(zero + int(digit)) for digit in str(number))) == [str(number)]


@given(st.sampled_from([*UNITS]), st.sampled_from(["12", "1.5", "3/4", "240"]), st.sampled_from(["", " ", "-"]))
def test_a_unit_reads_alike_however_it_is_written(unit, number, separator):
    """Every spelling of a unit after a number, glued, hyphened or apart, gives the number and one form of the unit."""
    for spelling in UNITS[unit].split():
        assert split_words(f"a {number}{separator}{spelling} b") == ["a", number, unit, "b"]


@given(st.sampled_from(" ".join(UNITS.values()).split()), latin_words)
def test_a_unit_without_a_number_is_a_word(spelling, word):
    """A unit's name that follows no number stays as it is."""
    assert split_words(f"{word} {spelling}") == [word, spelling.lower()]


@given(
    latin_words, st.sampled_from("\u00ad\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u202a\u2069\ufe0f\u034f"), st.data()
)
def test_invisible_characters_vanish_anywhere(word, sign, data):
    """An invisible character changes nothing, wherever it is in a word."""
    place = data.draw(st.integers(0, len(word)))
    assert split_words(word[:place] + sign + word[place:]) == [word]


@given(latin_words, latin_words, st.sampled_from("™℠®©º°"))
def test_signs_separate_and_add_nothing(one, other, sign):
    """A trade mark sign ends a word and is not part of it."""
    assert split_words(f"{one}{sign}") == [one]
    assert split_words(f"{one}{sign}{other}") == [one, other]


@given(latin_words)
def test_entities_are_decoded_once(word):
    """An entity of an entity is an entity in the text, not a character; one without a semicolon stays."""
    assert split_words(f"{word}&eacute;") == [f"{word}e"]
    assert split_words(f"{word}&amp;eacute;") == [word, "eacute"]
    assert split_words(f"{word}&eacute") == [word, "eacute"]


@pytest.mark.parametrize("script", INSIDE)
def test_a_word_is_found_inside_a_longer_run(script):
    """In a script without spaces, all grams of a word are among those of a run that contains it: 手机 in 苹果手机壳."""
    word, run = INSIDE[script]
    assert split_words(run) == [run]
    assert grams_of(word) <= grams_of(run)
    assert grams_of(word) - grams_of(word[0])


@given(st.text("手机壳苹果電視", min_size=1, max_size=6), st.text("手机壳苹果電視", max_size=6), latin_words)
def test_runs_without_spaces_are_singles_and_pairs(word, rest, latin):
    """A run of n characters gives n singles and n - 1 pairs, in order, and is apart from Latin letters next to it."""
    run = word + rest
    pairs = [run[place : place + 2] for place in range(len(run) - 1)]
    assert RULES_2.word_grams(run)[1::2] == pairs
    assert RULES_2.word_grams(run)[::2] == list(run)
    assert grams_of(word) <= grams_of(run)
    assert split_words(f"{latin}{run}{latin}") == [latin, run, latin]


def test_marks_stay_with_their_character():
    """A Thai vowel or tone above a consonant is part of its single, not one by itself."""
    assert RULES_2.word_grams("กู้") == ["กู้"]
    assert RULES_2.word_grams("กี่ปี") == ["กี่", "กี่ปี", "ปี"]


@given(any_text)
def test_words_with_spaces_between_them_have_trigrams(text):
    """A word of a script with spaces has the trigrams of version 1."""
    words = [word for word in split_words(text) if word.isascii()]
    assert [RULES_2.word_grams(word) for word in words] == [RULES_1.word_grams(word) for word in words]


def test_long_texts_are_read_in_linear_time():
    """A hundred thousand digits, dots, quotes or commas without a space are read, but not cached."""
    for piece in ("1", "1.", "1/", "1,", "1x", "1'", '"', '"1', "1,000", "&", "&#1;", "é", "手", "1½", "²", "'a"):
        split_words(piece * 100_000)
        split_words(piece * 20_000 + "z")
    assert max(map(len, text_rules._chunk_words)) <= text_rules._MAX_CACHED_CHUNK_LENGTH


def test_the_cache_is_bounded(monkeypatch):
    """However many texts are read, the cache stays small, and the words stay right."""
    monkeypatch.setattr(text_rules, "MAX_CACHED_CHUNKS", 7)
    text_rules._chunk_words.clear()
    for number in range(100):
        assert split_words(f"a{number}½") == [f"a{number}", "1/2"]
        assert len(text_rules._chunk_words) <= 7


def test_versions_describe_themselves():
    """Each version has its own description, and the latest is the default for what is new."""
    assert RULES_1.to_dict() == {
        "normal_form": "NFKC, casefold, NFKC",
        "word": r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*",
        "word_end": "#",
        "gram": 3,
    }
    assert RULES_2.to_dict()["version"] == 2
    assert {version: rules.version for version, rules in TEXT_RULES.items()} == {1: 1, 2: 2}
    assert LATEST_RULES == RULES_2


@pytest.mark.parametrize("text", ["café²", "Å²", "й²", "m²", "H₂O", "naïve³"])
def test_composed_and_decomposed_text_have_the_same_words(text):
    """A raised digit joins a letter whether its accent is a character of its own or not."""
    composed, decomposed = (RULES_2.split_words(unicodedata.normalize(form, text)) for form in ("NFC", "NFD"))
    assert composed == decomposed
    assert len(composed) == 1


@pytest.mark.parametrize("unit", ["pk", "pack", "ct", "count", "pc"])
@pytest.mark.parametrize("number", ["6", "12", "500"])
def test_a_count_reads_alike_glued_hyphenated_and_apart(unit, number):
    """10pk, 10-pk and 10 pk have the same two words."""
    spellings = {tuple(RULES_2.split_words(f"{number}{glue}{unit}")) for glue in ("", "-", " ")}
    assert spellings == {(number, unit)}


def test_the_micro_sign_is_a_u():
    """100 µF and 100uF have the same words."""
    assert RULES_2.split_words("100µF") == RULES_2.split_words("100uF") == ["100uf"]
