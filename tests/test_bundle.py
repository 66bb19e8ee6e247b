"""A bundle is a value, checked when it is loaded: every kind of damage is named, with what to do about it."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding.bundle import (
    BUNDLE_FORMAT,
    LEXICAL_CONTAINMENT,
    MANIFEST_FILE,
    PRODUCT_GRAPH,
    QUERY_GRAPH,
    REQUIRED_FILES,
    TRIGRAMS_FILE,
    compute_model_id,
    find_shipped_bundles,
    list_bundle_files,
    load_bundle,
    save_manifest,
    write_vocabulary,
)
from anthem_core.encoding.encoder import Encoder, open_session
from anthem_core.encoding.tokenizer import build_vocabulary
from anthem_core.errors import BundleError
from anthem_core.fusion import FusionWeights


@pytest.fixture
def folder(bundle, tmp_path):
    """A copy of the bundle that ships, free to be damaged."""
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


def manifest(folder, **changes):
    """Rewrite entries of the manifest; an entry of None is taken out."""
    values = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8")) | changes
    kept = {name: value for name, value in values.items() if value is not None}
    (folder / MANIFEST_FILE).write_text(json.dumps(kept), encoding="utf-8")


def flip(path):
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    """Leave half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def spell(folder, name, value):
    """Write a number of the manifest in a way that Python would not."""
    text = (folder / MANIFEST_FILE).read_text(encoding="utf-8")
    (folder / MANIFEST_FILE).write_text(re.sub(rf'"{name}": [^,]*', f'"{name}": {value}', text), encoding="utf-8")


def text_rules(folder, **changes):
    """Change rules of the text in the manifest."""
    rules = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["text"]
    manifest(folder, text=rules | changes)


def swap_graph(folder):
    """Put the product encoder in the place of the query encoder, with sums to match."""
    bundle = load_bundle(folder)
    shutil.copy(folder / PRODUCT_GRAPH, folder / QUERY_GRAPH)
    save_manifest(bundle)


# How a bundle is damaged: what the message names as found, as wanted, and as the cure.
AGAIN = "anthem export"
DAMAGE = {
    "no manifest": (lambda folder: (folder / MANIFEST_FILE).unlink(), "has no manifest.json", AGAIN),
    "manifest cut": (lambda folder: cut(folder / MANIFEST_FILE), "is not JSON", AGAIN),
    "manifest no text": (lambda folder: (folder / MANIFEST_FILE).write_bytes(b"\xff\xfe{"), "is not JSON", AGAIN),
    "manifest no object": (
        lambda folder: (folder / MANIFEST_FILE).write_text("[]"),
        "has format None",
        "Is this an ANTHEM",
    ),
    "foreign manifest": (lambda folder: manifest(folder, format="keras"), "has format 'keras'; format 1", "Is this an"),
    "newer": (
        lambda folder: manifest(folder, format=BUNDLE_FORMAT + 1),
        f"format {BUNDLE_FORMAT + 1}; .* up to {BUNDLE_FORMAT}",
        "Upgrade",
    ),
    "no sums": (lambda folder: manifest(folder, sha256=None), "SHA-256 .* the manifest says None", AGAIN),
    "another model": (lambda folder: manifest(folder, model="0" * 16), "make model .* the manifest says 0000", AGAIN),
    "swapped graph": (swap_graph, "make model .*, the manifest says", AGAIN),
    "other text rules": (
        lambda folder: text_rules(folder, gram=4),
        r"other text rules \(\{'gram': 4\}\)",
        "Export again",
    ),
    "other hash": (lambda folder: text_rules(folder, bucket_hash="md5"), "'bucket_hash': 'md5'", "Export again"),
    "other buckets": (lambda folder: text_rules(folder, buckets=7), "make model .*, the manifest says", AGAIN),
    "other limit": (lambda folder: text_rules(folder, query_limit=7), "make model .*, the manifest says", AGAIN),
    "no radius": (
        lambda folder: manifest(folder, radius=None),
        "'radius'.* where a complete manifest was wanted",
        AGAIN,
    ),
    "no text": (lambda folder: manifest(folder, text=None), "'text'.* where a complete manifest was wanted", AGAIN),
    "no number": (lambda folder: manifest(folder, gamma="much"), "gamma 'much'; a number between 0 and 1 was", AGAIN),
    "format true": (lambda folder: manifest(folder, format=True), "has format True; format 1", "Is this an ANTHEM"),
    "nested deeply": (
        lambda folder: (folder / MANIFEST_FILE).write_text("[" * 200_000 + "]" * 200_000),
        "is not JSON",
        AGAIN,
    ),
    "NaN": (lambda folder: spell(folder, "slack", "NaN"), "is not JSON .*NaN", AGAIN),
    "Infinity": (lambda folder: spell(folder, "radius", "Infinity"), "is not JSON .*Infinity", AGAIN),
    "too large for a float": (lambda folder: spell(folder, "radius", "1e999"), "radius inf; .*at most 10 was", AGAIN),
    "a huge dimension": (lambda folder: spell(folder, "dimension", "1e999"), "dimension inf; a whole number", AGAIN),
    "a huge whole number": (lambda folder: spell(folder, "radius", "1" + "0" * 400), "radius 1000.*at most 10", AGAIN),
    "foreign fusion": (
        lambda folder: manifest(folder, fusion={LEXICAL_CONTAINMENT: {"magic": 1}}),
        "magic.* where a complete manifest",
        AGAIN,
    ),
    **{
        f"no {name}": (lambda folder, name=name: (folder / name).unlink(), f"lacks {name}", AGAIN)
        for name in REQUIRED_FILES
    },
    **{
        f"{name} flipped": (
            lambda folder, name=name: flip(folder / name),
            f"{name} has SHA-256 .*, the manifest says",
            AGAIN,
        )
        for name in REQUIRED_FILES
    },
    **{
        f"{name} cut": (
            lambda folder, name=name: cut(folder / name),
            f"{name} has SHA-256 .*, the manifest says",
            AGAIN,
        )
        for name in REQUIRED_FILES
    },
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_with_its_cure(folder, kind):
    """A damaged, foreign or newer bundle is refused: the message says where, what was found and wanted, what to do."""
    damage, found, cure = DAMAGE[kind]
    damage(folder)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    message = str(caught.value)
    assert re.search(found, message)
    assert cure in message
    assert str(folder) in message


@pytest.mark.parametrize(
    "name", sorted({"model", "dimension", "hyperboloids", "radius", "gamma", "slack", "text", "fusion"})
)
def test_every_entry_is_needed(folder, name):
    """A manifest that lacks an entry is incomplete, and the message names the entry."""
    manifest(folder, **{name: None})
    with pytest.raises(BundleError, match=f"'{name}'"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("gamma", value) for value in (0, 1, -0.1, 1.5, True, [0.2])),
        *(("radius", value) for value in (0, -1, 10.5, "3")),
        *(("slack", value) for value in (1e9, -1e9, {})),
        *((name, value) for name in ("dimension", "hyperboloids") for value in (0, -1, 2.5, True, "64", 10**30)),
        ("hyperboloids", 9),
    ],
)
def test_a_number_out_of_range_is_named(folder, name, value):
    """A number the formulas cannot work with is refused by name, with what was found and wanted and the cure."""
    manifest(folder, **{name: value})
    with pytest.raises(BundleError, match=rf"has {name} .*; a .*number .* was wanted\. .*{AGAIN}"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("half_saturation", 0),
        *((name, -1) for name in ("lexical", "containment", "half_saturation", "median_distance", "attention")),
        *(
            (name, value)
            for name in ("bias", "lexical", "median_distance", "median_attention")
            for value in (1e300, 10**400, None, False)
        ),
    ],
)
def test_a_weight_out_of_range_is_named(folder, name, value):
    """A fusion weight that is negative, absurd or no number is refused by name."""
    weights = FusionWeights(1.0, 2.0, 3.0, 4.0, 5.0).to_dict() | {name: value}
    manifest(folder, fusion={LEXICAL_CONTAINMENT: weights})
    with pytest.raises(BundleError, match=rf"has {name} .*; a number .* was wanted\. .*{AGAIN}"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["buckets", "query_limit", "title_limit"])
@pytest.mark.parametrize("value", [0, -1, True, "48", 2**40])
def test_a_size_of_the_vocabulary_out_of_range_is_named(folder, name, value):
    """No bucket, or no trigram of a text, is refused before anything divides by it."""
    text_rules(folder, **{name: value})
    with pytest.raises(BundleError, match=f"has {name} .*; a whole number from 1"):
        load_bundle(folder)


def test_a_name_that_is_too_long():
    """A name no file system takes is a BundleError, and the message does not repeat all of it."""
    with pytest.raises(BundleError, match=r"cannot be read .*anthem export") as caught:
        load_bundle("x" * 5000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("name", "value"), [("hyperboloids", 3), ("dimension", 63)])
def test_a_graph_of_another_shape_is_refused(folder, name, value):
    """A manifest that promises another number of hyperboloids or dimensions than the graphs give is refused."""
    manifest(folder, **{name: value})
    with pytest.raises(BundleError, match=rf"manifest says .*{value}.* were wanted; the graph gives .*anthem export"):
        Encoder(load_bundle(folder))


def test_no_such_bundle():
    """A name that is neither a folder nor shipped is refused with the names that are."""
    with pytest.raises(BundleError, match=r"No bundle 'no-such'.*general.*anthem export"):
        load_bundle("no-such")


def test_a_copy_is_the_same_bundle(bundle, folder):
    """A bundle may be moved: its copy is equal in all but its path."""
    assert replace(load_bundle(folder), path=bundle.path) == bundle


def test_saving_and_loading_gives_the_same(folder):
    """Load undoes save_manifest."""
    bundle = replace(
        load_bundle(folder), slack=0.25, trained_on=["ein Käse"], quality={"ndcg": 0.5}, versions={"numpy": "2"}
    )
    save_manifest(bundle)
    assert load_bundle(folder) == bundle


def test_fusion_keeps_the_model_id(folder):
    """Other fusion weights, slack or quality make no other model: vectors do not become stale."""
    bundle = load_bundle(folder)
    tuned = replace(
        bundle, slack=9.0, fusion={LEXICAL_CONTAINMENT: FusionWeights(1.0, 2.0, 3.0, 4.0, 5.0)}, quality={"x": 1}
    )
    save_manifest(tuned)
    assert load_bundle(folder).model == bundle.model
    assert load_bundle(folder).fusion != bundle.fusion


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_graphs_and_vocabulary_make_the_model_id(folder, name):
    """Any other graph or vocabulary makes another model."""
    bundle = load_bundle(folder)
    flip(folder / name)
    assert compute_model_id(folder, bundle.vocabulary.rules()) != bundle.model


def test_text_rules_make_the_model_id(folder):
    """Any other text rule makes another model."""
    rules = load_bundle(folder).vocabulary.rules()
    ids = {compute_model_id(folder, rules | {name: "other"}) for name in rules} | {compute_model_id(folder, rules)}
    assert len(ids) == len(rules) + 1


def test_the_shipped_one_loads_from_anywhere(bundle, tmp_path, monkeypatch):
    """`general` is found by name from any working directory, and its manifest states the format read."""
    monkeypatch.chdir(tmp_path)
    assert load_bundle("general") == bundle
    assert "general" in find_shipped_bundles()
    assert bundle.path.is_absolute()


def test_numbers_of_the_shipped_bundle_make_sense(bundle):
    """Radius and limits are positive, 0 < gamma < 1, at most 8 hyperboloids, and fusion weights are not negative."""
    assert bundle.radius > 0
    assert 0 < bundle.gamma < 1
    assert 1 <= bundle.hyperboloids <= 8
    fusion = bundle.fusion[LEXICAL_CONTAINMENT]
    assert min(fusion.lexical, fusion.containment, fusion.half_saturation, fusion.median_distance) >= 0
    assert bundle.bytes == sum((bundle.path / name).stat().st_size for name in list_bundle_files(bundle.path))
    assert bundle.object_name == f"anthem_{bundle.model[:8]}"


def test_a_graph_onnxruntime_cannot_read(folder):
    """A whole bundle whose graph no runtime understands is a BundleError that names file, runtime and cure."""
    bundle = load_bundle(folder)
    (folder / QUERY_GRAPH).write_bytes(b"no graph")
    save_manifest(replace(bundle, model=compute_model_id(folder, bundle.vocabulary.rules())))
    sound = load_bundle(folder)
    with pytest.raises(BundleError, match=r"query_encoder.onnx: ONNX Runtime .* cannot read it .* Export again"):
        Encoder(sound)


def test_a_graph_that_is_not_there(tmp_path):
    """A missing graph is a BundleError too."""
    with pytest.raises(BundleError, match="cannot read it"):
        open_session(tmp_path / "none.onnx")


@given(st.lists(st.text(st.characters(exclude_categories=())), max_size=20))
def test_vocabulary_survives_its_file(tmp_path_factory, texts):
    """The trigrams of any texts, written and read, are the same: none holds a line break."""
    folder = tmp_path_factory.mktemp("vocabulary")
    vocabulary = build_vocabulary(texts, 100, 7, least=1)
    write_vocabulary(vocabulary, folder)
    read = (folder / TRIGRAMS_FILE).read_text(encoding="utf-8").split("\n")[:-1]
    assert tuple(read) == vocabulary.known
