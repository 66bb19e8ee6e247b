"""Which fields of an index hold a model's values, and searching an index with the values of two models."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from shipped_words import split_words

from anthem_core.opensearch.schema import (
    CURRENT_FIELDS,
    MODEL_SIGNALS,
    VALUE_OF_SIGNAL,
    ModelFields,
    fields_of_model,
    find_model_fields,
    hash_words,
    mapped_signals,
    resolve_current_fields,
)
from anthem_ingest.cli import ingest
from anthem_ingest.multi_model import build_alias_mapping
from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient

TITLES = ["acme red fire tv", "globex fire tv", "stark fire pit", "fire tv stand", "blue lamp"]

models = st.text("0123456789abcdef", min_size=16, max_size=16)


def mappings_of(signals, *indices):
    """Mappings of indices that hold these objects of models, with the values of some signals."""
    return [
        {"properties": {name: ModelFields(name).mapping(3, signals)["properties"][name] for name in names}}
        for names in indices
    ]


signal_sets = st.lists(st.sampled_from(MODEL_SIGNALS), min_size=1, unique=True)


@given(
    models,
    models,
    signal_sets,
    st.lists(st.lists(st.sampled_from(["anthem", "mine", "other"]), unique=True), max_size=3),
)
def test_the_fields_of_a_model_are_found(model, other, signals, indices):
    """A model's values are in its own object if any of the indices maps one there, otherwise in `anthem`."""
    names = {"mine": fields_of_model(model).name, "other": fields_of_model(other).name, "anthem": "anthem"}
    fields = find_model_fields(mappings_of(signals, *([names[name] for name in index] for index in indices)), model)
    mapped = {names[name] for index in indices for name in index}
    assert fields == (fields_of_model(model) if fields_of_model(model).name in mapped else ModelFields())
    assert fields.name in {"anthem", f"anthem_{model[:8]}"}


object_names = st.just("anthem") | models.map(lambda model: fields_of_model(model).name)
WRONG_FIELDS = {
    "containment": [{"type": "float"}, {"type": "keyword"}, None],
    "attention": [{"type": "text"}, {"type": "binary"}, {"type": "binary", "doc_values": False}, None],
}


@given(object_names, st.data())
def test_signals_are_those_whose_values_are_mapped(name, data):
    """An index has a signal if the field of its value has the right type, whatever else a release says of the field."""
    mapping = ModelFields(name).mapping(3)
    fields = mapping["properties"][name]["properties"]
    fields["vector"] |= data.draw(st.sampled_from([{}, {"doc_values": True}, {"method": {"name": "hnsw"}}]))
    wrong = data.draw(st.sets(st.sampled_from(MODEL_SIGNALS)))
    for signal in wrong:
        fields[VALUE_OF_SIGNAL[signal]] = data.draw(st.sampled_from(WRONG_FIELDS[signal]))
    mapping["properties"][name]["properties"] = {key: field for key, field in fields.items() if field}
    assert mapped_signals(mapping, ModelFields(name)) == tuple(s for s in MODEL_SIGNALS if s not in wrong)


@given(object_names, signal_sets)
def test_current_fields_are_resolved_from_aliases(name, signals):
    """The current fields are those that the aliases point at, of any value; without aliases they are `anthem`."""
    mappings = build_alias_mapping(ModelFields(name), signals)
    assert mappings["properties"].keys() == {CURRENT_FIELDS.name}
    assert resolve_current_fields(mappings) == ModelFields(name)
    assert resolve_current_fields({}) == ModelFields()


@pytest.fixture(scope="module")
def other(bundle, add_attention, tmp_path_factory):
    """A second bundle, with another model id."""
    return add_attention(bundle, tmp_path_factory.mktemp("other"))


@pytest.mark.node
def test_two_models_in_one_index(client, cluster, index, bundle, other, tmp_path, monkeypatch):
    """Each bundle reranks by its own values; if they are missing or pruned, the reason says what to run."""
    monkeypatch.chdir(tmp_path)
    client.indices.create(index=index, body={"mappings": {"properties": {"title": {"type": "text"}}}})
    lines = [line for n, title in enumerate(TITLES) for line in ({"index": {"_id": str(n)}}, {"title": title})]
    client.bulk(index=index, body=lines, refresh=True)

    def run(command, *words):
        result = CliRunner().invoke(command, [index, *words, "--url", cluster, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def search_with(used, mode="cluster"):
        return run(search, "fire tv", "--bundle", str(used.path), "--explain", "--rerank", mode)

    def reranks(used, mode="cluster"):
        response = search_with(used, mode)
        return "containment" in response["signals"] and all(hit["explanation"] for hit in response["hits"])

    def advice(used):
        return search_with(used)["reason"].rpartition(": ")[2]

    assert advice(other) == f"anthem ingest {index} --bundle {other.path}"
    run(ingest, "--bundle", str(bundle.path))
    assert reranks(bundle)
    assert advice(other) == f"anthem ingest {index} --bundle {other.path} --beside"
    run(ingest, "--bundle", str(other.path), "--beside")
    for used in (bundle, other):
        assert reranks(used)
        assert reranks(used, "client")
    profiles = [AnthemClient.from_bundle(client, used.path).profile(f"{index}*") for used in (bundle, other)]
    assert [profile.scoring.fields for profile in profiles] == [ModelFields(), fields_of_model(other.model_id)]
    run(ingest, "--bundle", str(other.path), "--beside", "--prune")
    assert reranks(other)
    assert advice(bundle) == f"anthem ingest {index} --bundle {bundle.path}"


spellings = st.lists(
    st.sampled_from(["fire", "TV", "Fire", "tv", "½", "1⁄2", " ", "-", "!", "\ud800"]), max_size=6
).map("".join)


@given(spellings, spellings)
def test_texts_of_the_same_words_have_the_same_hash(text, other):
    """A text hash is that of the normalised words: case and punctuation do not count, words and their order do."""
    words, other_words = split_words(text), split_words(other)
    assert (hash_words(words) == hash_words(other_words)) == (words == other_words)
