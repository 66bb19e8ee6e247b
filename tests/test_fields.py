"""Laws of where an index holds a model's vectors, and of searching an index that holds those of two models."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.opensearch.schema import (
    CURRENT_FIELDS,
    VectorFields,
    fields_of_model,
    find_vector_fields,
    resolve_current_fields,
)
from anthem_ingest.cli import ingest
from anthem_ingest.multi_model import build_alias_mapping
from anthem_plugin.cli import search
from anthem_plugin.search.discovery import fields_of

TITLES = ["acme red fire tv", "globex fire tv", "stark fire pit", "fire tv stand", "blue lamp"]

models = st.text("0123456789abcdef", min_size=16, max_size=16)


def answer(*indices):
    """What `GET /<name>/_mapping/field/anthem*.vector` gives of indices with these objects."""
    return {
        f"shop-{number}": {
            "mappings": {VectorFields(name).vector: {"full_name": VectorFields(name).vector} for name in names}
        }
        for number, names in enumerate(indices)
    }


@given(models, models, st.lists(st.lists(st.sampled_from(["anthem", "mine", "other"]), unique=True), max_size=3))
def test_a_model_is_found_under_its_own_name_or_the_first(model, other, indices):
    """A model's vectors are in its own object where any of the indices maps that, else in `anthem`."""
    names = {"mine": fields_of_model(model).name, "other": fields_of_model(other).name, "anthem": "anthem"}
    found = find_vector_fields(answer(*([names[name] for name in index] for index in indices)), model)
    mapped = {names[name] for index in indices for name in index}
    assert found == (fields_of_model(model) if fields_of_model(model).name in mapped else VectorFields())
    assert found.name in {"anthem", f"anthem_{model[:8]}"}


@given(st.just("anthem") | models.map(lambda model: fields_of_model(model).name))
def test_aliases_are_read_as_they_were_written(name):
    """The current names are those that the aliases were pointed at; without aliases they are `anthem`."""
    mappings = build_alias_mapping(VectorFields(name))
    assert mappings["properties"].keys() == {CURRENT_FIELDS.name}
    assert resolve_current_fields(mappings) == VectorFields(name)
    assert resolve_current_fields({}) == VectorFields()


@pytest.fixture(scope="module")
def other(bundle, with_attention, tmp_path_factory):
    """A second bundle, with another model id."""
    return with_attention(bundle, tmp_path_factory.mktemp("other"))


@pytest.mark.node
def test_two_models_in_one_index(client, cluster, index, bundle, other, tmp_path, monkeypatch):
    """Either bundle reranks by its own vectors; one whose vectors are not there, or pruned, says what to run."""
    monkeypatch.chdir(tmp_path)
    client.indices.create(index=index, body={"mappings": {"properties": {"title": {"type": "text"}}}})
    lines = [line for n, title in enumerate(TITLES) for line in ({"index": {"_id": str(n)}}, {"title": title})]
    client.bulk(index=index, body=lines, refresh=True)

    def run(command, *words):
        done = CliRunner().invoke(command, [index, *words, "--url", cluster, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def searched(used, mode="cluster"):
        return run(search, "fire tv", "--bundle", str(used.path), "--explain", "--rerank", mode)

    def reranks(used, mode="cluster"):
        found = searched(used, mode)
        return "containment" in found["signals"] and all(hit["explanation"] for hit in found["hits"])

    def told(used):
        return searched(used)["reason"].partition(": ")[2]

    assert told(other) == f"anthem ingest {index} --bundle {other.path}"
    run(ingest, "--bundle", str(bundle.path))
    assert reranks(bundle)
    assert told(other) == f"anthem ingest {index} --bundle {other.path} --beside"
    run(ingest, "--bundle", str(other.path), "--beside")
    for used in (bundle, other):
        assert reranks(used)
        assert reranks(used, "client")
    assert [fields_of(client, f"{index}*", used.model) for used in (bundle, other)] == [
        VectorFields(),
        fields_of_model(other.model),
    ]
    run(ingest, "--bundle", str(other.path), "--beside", "--prune")
    assert reranks(other)
    assert told(bundle) == f"anthem ingest {index} --bundle {bundle.path}"


@pytest.mark.node
def test_the_names_of_what_is_not_there(client, index, bundle):
    """An index that is not there, or a pattern that fits none, means `anthem`."""
    assert fields_of(client, index, bundle.model) == fields_of(client, f"{index}*", bundle.model) == VectorFields()
