"""A bundle is checked when it is loaded: the error names every kind of damage, with what to do about it."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.attention_grid import GridExplainer
from anthem_core.encoding.bundle import (
    ATTENTION_GRAPH,
    ATTENTION_TABLE_GRAPH,
    BUNDLE_FORMAT,
    LEXICAL_CONTAINMENT,
    MANIFEST_FILE,
    PRODUCT_GRAPH,
    QUERY_GRAPH,
    TRAINING_FILE,
    TRIGRAMS_FILE,
    WORDS_FILE,
    compute_model_id,
    find_shipped_bundles,
    list_bundle_files,
    load_bundle,
    save_manifest,
    write_vocabulary,
)
from anthem_core.encoding.encoder import Encoder, open_session
from anthem_core.encoding.text_rules import RULES_1, RULES_2, TEXT_RULES
from anthem_core.encoding.tokenizer import Vocabulary, build_vocabulary
from anthem_core.errors import BundleError
from anthem_core.fusion import FusionWeights
from anthem_core.opensearch.schema import hash_words

ALL_FILES = list_bundle_files(find_shipped_bundles()["general"])


@pytest.fixture
def folder(bundle, tmp_path):
    """A copy of the shipped bundle that a test may damage."""
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


def change_manifest(folder, **changes):
    """Change entries of the manifest; an entry of None is removed."""
    values = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8")) | changes
    remaining = {name: value for name, value in values.items() if value is not None}
    (folder / MANIFEST_FILE).write_text(json.dumps(remaining), encoding="utf-8")


def flip_bit(path):
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    """Cut a file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_manifest(folder, text):
    """Replace the manifest by another text."""
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def literal(name, value):
    """Damage that writes a number of the manifest in a form that Python's json does not write."""

    def write(folder):
        text = (folder / MANIFEST_FILE).read_text(encoding="utf-8")
        write_manifest(folder, re.sub(rf'"{name}": [^,]*', f'"{name}": {value}', text))

    return write


def change_rules(folder, **changes):
    """Change text rules in the manifest."""
    rules = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["text"]
    change_manifest(folder, text=rules | changes)


def rules(**changes):
    """Damage that changes text rules in the manifest."""
    return lambda folder: change_rules(folder, **changes)


def swap_graph(folder):
    """Replace the query encoder by the product encoder, with matching checksums."""
    bundle = load_bundle(folder)
    shutil.copy(folder / PRODUCT_GRAPH, folder / QUERY_GRAPH)
    save_manifest(bundle)


# By kind of damage: the function that causes it, or other entries of the manifest; a pattern for what the message says;
# and what it says to do.
RECOVERY = "anthem export"
DAMAGE = {
    "no manifest": (lambda folder: (folder / MANIFEST_FILE).unlink(), "has no manifest.json", RECOVERY),
    "manifest truncated": (lambda folder: truncate(folder / MANIFEST_FILE), "is not JSON", RECOVERY),
    "manifest not text": (lambda folder: (folder / MANIFEST_FILE).write_bytes(b"\xff\xfe{"), "is not JSON", RECOVERY),
    "manifest not an object": (lambda folder: write_manifest(folder, "[]"), "has format None", "Is this an ANTHEM"),
    "nested deeply": (lambda folder: write_manifest(folder, "[" * 200_000 + "]" * 200_000), "is not JSON", RECOVERY),
    "foreign": ({"format": "keras"}, "has format 'keras'; expected formats 2 and 3", "Is this an ANTHEM"),
    "format true": ({"format": True}, "has format True; expected formats 2 and 3", "Is this an ANTHEM"),
    "format 0": ({"format": 0}, "has format 0; expected formats 2 and 3", "Is this an ANTHEM"),
    "older": (
        {"format": 1, "fusion": {LEXICAL_CONTAINMENT: {"bias": 0.0}}},
        "format 1, of an earlier version; this version reads formats 2 and 3, which have attention tables",
        "anthem train DATA --output CHECKPOINT, anthem export CHECKPOINT BUNDLE. Then run `anthem ingest` again",
    ),
    "newer": (
        {"format": BUNDLE_FORMAT + 1},
        f"format {BUNDLE_FORMAT + 1}; this version reads formats 2 and 3",
        "Upgrade",
    ),
    "no checksums": ({"sha256": None}, "SHA-256 .* the manifest says None", RECOVERY),
    "another model": ({"model": "0" * 16}, "have model id .* the manifest says 0000", RECOVERY),
    "swapped graph": (swap_graph, "have model id .*, the manifest says", RECOVERY),
    "other text rules": (rules(bucket_hash="md5", gram=4), r"other text rules \(\{.*'gram': 4", "Export again"),
    "newer text rules": (
        rules(version=7),
        "made with text rules 7; this version knows 1 and 2",
        "Upgrade ANTHEM Search",
    ),
    "text rules true": (rules(version=True), "made with text rules True; this version knows", "Upgrade"),
    "other hash": (rules(bucket_hash="md5"), "'bucket_hash': 'md5'", "Export again"),
    "other buckets": (rules(buckets=7), "have model id .*, the manifest says", RECOVERY),
    "other limit": (rules(query_limit=7), "have model id .*, the manifest", RECOVERY),
    "no radius": ({"radius": None}, "'radius'.*; expected a complete manifest", RECOVERY),
    "no text": ({"text": None}, "'text'.*; expected a complete manifest", RECOVERY),
    "not a number": ({"gamma": "much"}, "gamma 'much'; expected a number between 0 and 1", RECOVERY),
    "NaN": (literal("slack", "NaN"), "is not JSON .*NaN", RECOVERY),
    "Infinity": (literal("radius", "Infinity"), "is not JSON .*Infinity", RECOVERY),
    "too large for a float": (literal("radius", "1e999"), "radius inf; expected .*at most 10", RECOVERY),
    "a huge dimension": (literal("dimension", "1e999"), "dimension inf; expected a whole number", RECOVERY),
    "a huge whole number": (literal("radius", "1" + "0" * 400), "radius 1000.*at most 10", RECOVERY),
    "foreign fusion": (
        {"fusion": {LEXICAL_CONTAINMENT: {"magic": 1}}},
        "magic.*; expected a complete manifest",
        RECOVERY,
    ),
}
DAMAGE_OF_A_FILE = {
    "is missing": (Path.unlink, "{name} is missing"),
    "has a flipped bit": (flip_bit, "{name} has SHA-256 .*, the manifest says"),
    "is truncated": (truncate, "{name} has SHA-256 .*, the manifest says"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_reported(folder, kind):
    """A damaged, foreign or newer bundle is refused: the message says where, what was found, what to do."""
    damage, pattern, advice = DAMAGE[kind]
    change_manifest(folder, **damage) if isinstance(damage, dict) else damage(folder)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    message = str(caught.value)
    assert re.search(pattern, message)
    assert advice in message
    assert str(folder) in message


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("kind", DAMAGE_OF_A_FILE)
def test_damage_of_a_file_is_reported(folder, name, kind):
    """If a graph or the vocabulary is missing or changed, the message names the file and says what to do."""
    damage, pattern = DAMAGE_OF_A_FILE[kind]
    damage(folder / name)
    with pytest.raises(BundleError, match=rf"{pattern.format(name=name)}.*{RECOVERY}"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("missing", "use", "message"),
    [
        (ATTENTION_TABLE_GRAPH, AttentionScorer, "has no attention_table.onnx, which the attention score needs"),
        (
            ATTENTION_GRAPH,
            lambda bundle: GridExplainer(bundle).explain_title("tv", "tv"),
            r"attention\.onnx: ONNX Runtime .* cannot read this graph",
        ),
    ],
)
def test_a_bundle_with_one_of_the_two_attention_graphs(folder, missing, use, message):
    """The table alone scores, the grid alone does not; what needs the other graph says which one is missing."""
    bundle = load_bundle(folder)
    (folder / missing).unlink()
    save_manifest(replace(bundle, model_id=compute_model_id(folder, bundle.rules())))
    partial = load_bundle(folder)
    assert partial.has_attention == (missing == ATTENTION_GRAPH)
    if partial.has_attention:
        assert np.isfinite(AttentionScorer(partial).score_titles("tv", ["tv"])).all()
    with pytest.raises(BundleError, match=message):
        use(partial)


@pytest.mark.parametrize(
    "name", sorted({"model", "dimension", "hyperboloids", "radius", "gamma", "vector_step", "slack", "text", "fusion"})
)
def test_every_entry_is_required(folder, name):
    """If a manifest lacks an entry, the message names it."""
    change_manifest(folder, **{name: None})
    with pytest.raises(BundleError, match=f"'{name}'"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("gamma", value) for value in (0, 1, -0.1, 1.5, True, [0.2])),
        *(("radius", value) for value in (0, -1, 10.5, "3")),
        *(("vector_step", value) for value in (0, -0.5, 0.3, 2**20, 1e-300, "0.5")),
        *(("slack", value) for value in (1e9, -1e9, {})),
        *((name, value) for name in ("dimension", "hyperboloids") for value in (0, -1, 2.5, True, "64", 10**30)),
        ("hyperboloids", 9),
    ],
)
def test_a_number_out_of_range_is_refused(folder, name, value):
    """If the formulas cannot use a number, the message names it, what was expected, and what to do."""
    change_manifest(folder, **{name: value})
    with pytest.raises(BundleError, match=rf"has {name} .*; expected a .*number .*\. .*{RECOVERY}"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lexical_offset", 0),
        *((name, -1) for name in ("lexical_offset", "containment", "median_distance", "attention")),
        *(
            (name, value)
            for name in ("lexical_offset", "containment", "median_distance", "median_attention")
            for value in (1e300, 10**400, None, False)
        ),
    ],
)
def test_a_weight_out_of_range_is_refused(folder, name, value):
    """If a fusion weight is negative, absurdly large or not a number, the message names it."""
    weights = FusionWeights(1.0, 2.0, 3.0, 4.0, 5.0).to_dict() | {name: value}
    change_manifest(folder, fusion={LEXICAL_CONTAINMENT: weights})
    with pytest.raises(BundleError, match=rf"has {name} .*; expected a number .*\. .*{RECOVERY}"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["buckets", "query_limit", "title_limit"])
@pytest.mark.parametrize("value", [0, -1, True, "48", 2**40])
def test_a_vocabulary_size_out_of_range_is_refused(folder, name, value):
    """Zero buckets or a limit of zero entities is refused before anything divides by it."""
    change_rules(folder, **{name: value})
    with pytest.raises(BundleError, match=f"has {name} .*; expected a whole number from 1"):
        load_bundle(folder)


def test_a_name_that_is_too_long():
    """A name too long for a file system is a BundleError, and the message shortens it."""
    with pytest.raises(BundleError, match=r"cannot be read .*anthem export") as caught:
        load_bundle("x" * 5000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("name", "value"), [("hyperboloids", 3), ("dimension", 63)])
def test_a_graph_of_another_shape_is_refused(folder, name, value):
    """A manifest is refused if its number of hyperboloids or dimensions differs from that of the graphs."""
    change_manifest(folder, **{name: value})
    with pytest.raises(BundleError, match=rf"has shape .*manifest says .*{value}.* was expected\..*anthem export"):
        Encoder(load_bundle(folder))


def test_an_unknown_bundle():
    """For a name that is neither a folder nor a shipped bundle, the message lists the shipped ones."""
    with pytest.raises(BundleError, match=r"Bundle 'no-such' not found\. .*anthem export.*general"):
        load_bundle("no-such")


def test_a_copy_is_the_same_bundle(bundle, folder):
    """A copy of a bundle is equal except for its path."""
    assert replace(load_bundle(folder), path=bundle.path) == bundle


def test_saving_and_loading_gives_the_same(folder):
    """Load reads back what save_manifest wrote."""
    bundle = replace(
        load_bundle(folder), slack=0.25, trained_on=["ein Käse"], quality={"ndcg": 0.5}, versions={"numpy": "2"}
    )
    save_manifest(bundle)
    assert load_bundle(folder) == bundle


def test_fusion_does_not_change_the_model_id(folder):
    """Other fusion weights, slack or quality keep the model id, so that stored vectors do not become stale."""
    bundle = load_bundle(folder)
    tuned = replace(
        bundle, slack=9.0, fusion={LEXICAL_CONTAINMENT: FusionWeights(1.0, 2.0, 3.0, 4.0, 5.0)}, quality={"x": 1}
    )
    save_manifest(tuned)
    assert load_bundle(folder).model_id == bundle.model_id
    assert load_bundle(folder).fusion != bundle.fusion


@pytest.mark.parametrize("name", ALL_FILES)
def test_graphs_and_vocabulary_determine_the_model_id(folder, name):
    """Any change to a graph or the vocabulary changes the model id, one to the parameters for training does not."""
    bundle = load_bundle(folder)
    flip_bit(folder / name)
    assert (compute_model_id(folder, bundle.rules()) == bundle.model_id) == (name == TRAINING_FILE)


def test_rules_determine_the_model_id(folder):
    """Any change to a text rule, or to the step of stored vectors, changes the model id."""
    rules = load_bundle(folder).rules()
    ids = {compute_model_id(folder, rules | {name: "other"}) for name in rules} | {compute_model_id(folder, rules)}
    assert len(ids) == len(rules) + 1


def test_the_shipped_bundle_loads_from_anywhere(bundle, tmp_path, monkeypatch):
    """`general` is found by name from any working directory, and its manifest states the format read."""
    monkeypatch.chdir(tmp_path)
    assert load_bundle("general") == bundle
    assert "general" in find_shipped_bundles()
    assert bundle.path.is_absolute()


def test_numbers_of_the_shipped_bundle_are_plausible(bundle):
    """Radius and limits are positive, 0 < gamma < 1, at most 8 hyperboloids, and fusion weights are not negative."""
    assert bundle.radius > 0
    assert 0 < bundle.gamma < 1
    assert 1 <= bundle.hyperboloids <= 8
    for fusion in bundle.fusion.values():
        assert min(fusion.lexical_offset, fusion.containment, fusion.median_distance, fusion.attention) >= 0
    assert bundle.size_bytes == sum((bundle.path / name).stat().st_size for name in list_bundle_files(bundle.path))


def test_a_graph_onnxruntime_cannot_read(folder):
    """If ONNX Runtime cannot read a graph, the BundleError names the file, the runtime and what to do."""
    bundle = load_bundle(folder)
    (folder / QUERY_GRAPH).write_bytes(b"not a graph")
    save_manifest(replace(bundle, model_id=compute_model_id(folder, bundle.rules())))
    unreadable = load_bundle(folder)
    with pytest.raises(
        BundleError, match=r"query_encoder.onnx: ONNX Runtime .* cannot read this graph .* Export it again"
    ):
        Encoder(unreadable)


def test_a_missing_graph(tmp_path):
    """A missing graph is a BundleError too."""
    with pytest.raises(BundleError, match="cannot read this graph"):
        open_session(tmp_path / "none.onnx")


def save_with(bundle, folder, vocabulary):
    """Write a bundle into a copy of its folder with another vocabulary, and read it again."""
    write_vocabulary(vocabulary, folder)
    changed = replace(bundle, path=folder, vocabulary=vocabulary)
    changed = replace(changed, model_id=compute_model_id(folder, changed.rules()))
    save_manifest(changed)
    assert load_bundle(folder) == changed
    return changed


def test_words_are_part_of_a_bundle(bundle, folder):
    """A bundle with words reads back with them; they have their own file, and the model id depends on it."""
    vocabulary = Vocabulary(("#re", "red"), 9, words=("red", "tv", "टीवी"), text_rules=RULES_2)
    changed = save_with(bundle, folder, vocabulary)
    assert (folder / WORDS_FILE).read_text(encoding="utf-8") == "red\ntv\nटीवी\n"
    other = save_with(bundle, folder, replace(vocabulary, words=("red", "tv")))
    assert other.model_id != changed.model_id
    assert WORDS_FILE in list_bundle_files(folder)
    (folder / WORDS_FILE).unlink()
    with pytest.raises(BundleError, match=rf"{WORDS_FILE} is missing\. Copy the whole"):
        load_bundle(folder)


def test_a_bundle_without_words_has_no_file_of_them(bundle, folder):
    """An earlier file of words is removed; one that was added later is refused."""
    (folder / WORDS_FILE).write_text("tv\n", encoding="utf-8")
    save_with(bundle, folder, Vocabulary(("#re",), 9))
    assert not (folder / WORDS_FILE).exists()
    (folder / WORDS_FILE).write_text("tv\n", encoding="utf-8")
    with pytest.raises(BundleError, match=rf"{WORDS_FILE} has SHA-256 .*, the manifest says None"):
        load_bundle(folder)


@pytest.mark.parametrize("name", [TRIGRAMS_FILE, WORDS_FILE])
def test_a_vocabulary_that_is_not_utf_8_is_named(folder, name):
    """The message names the file that is not UTF-8, even if its checksum is right."""
    (folder / name).write_bytes(b"caf\xe9\n")
    sha256 = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["sha256"]
    change_manifest(folder, sha256=sha256 | {name: hashlib.sha256(b"caf\xe9\n").hexdigest()})
    with pytest.raises(BundleError, match=rf"{name} is not UTF-8"):
        load_bundle(folder)


@pytest.mark.parametrize("rules", TEXT_RULES.values())
def test_a_bundle_keeps_its_text_rules(bundle, folder, rules):
    """The manifest names the version of the text rules, and the model id depends on it; version 1 is not numbered."""
    changed = save_with(bundle, folder, Vocabulary(("#re",), 9, text_rules=rules))
    text = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["text"]
    assert text.get("version", 1) == changed.vocabulary.text_rules.version == rules.version


def test_a_bundle_of_format_2_keeps_its_id_and_hashes(bundle, folder):
    """Format 2 has no words and version 1 of the text rules: its model id and the hashes of texts are those of then."""
    changed = save_with(bundle, folder, Vocabulary(("#re", "red"), 9, 48, 112, text_rules=RULES_1))
    change_manifest(folder, format=2)
    old = load_bundle(folder)
    assert old == changed
    words = r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*"
    former = {"normal_form": "NFKC, casefold, NFKC", "word": words, "word_end": "#", "gram": 3, "bucket_hash": "crc32"}
    assert old.vocabulary.rules() == former | {"buckets": 9, "query_limit": 48, "title_limit": 112}
    assert hash_words(old.vocabulary.split_words("Fire TV™ 1½ Pokémon")) == "a7e6ee5f4135200b"


@given(st.lists(st.text(st.characters(exclude_categories=())), max_size=20))
def test_vocabulary_survives_its_files(tmp_path_factory, texts):
    """The words and trigrams of any texts are the same after writing and reading: none contains a line break."""
    folder = tmp_path_factory.mktemp("vocabulary")
    vocabulary = build_vocabulary(texts, 100, 7, words=50, min_count=1)
    write_vocabulary(vocabulary, folder)
    for file, names in ((TRIGRAMS_FILE, vocabulary.trigrams), (WORDS_FILE, vocabulary.words)):
        read = (folder / file).read_text(encoding="utf-8").split("\n")[:-1] if names else []
        assert tuple(read) == names
