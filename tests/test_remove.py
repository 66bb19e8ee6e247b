"""`anthem remove` on a real node."""

import json
import re

import pytest
from click.testing import CliRunner

from anthem_ingest.cli import remove
from anthem_ingest.ingest import DEFAULT_OPTIONS, IngestOptions, ingest_index
from anthem_ingest.remove import _list_other_indices, remove_from_index, remove_objects

pytestmark = pytest.mark.node

SCRIPT_NAME = "anthem-score-test"
SCRIPT = {"script": {"lang": "painless", "source": "1"}}
USER_SCRIPT_NAMES = ("foreign-script", "anthem-mine")


def create_index(client, index, number=5, **more):
    """Create an index of numbered sofas."""
    client.indices.create(index=index, body={"settings": {"number_of_replicas": 0}, **more})
    for identity in map(str, range(number)):
        client.index(index=index, id=identity, body={"title": f"sofa {identity}", "Price": 7, "n": [{"a": None}]})
    client.indices.refresh(index=index)


def read_sources(client, index):
    """Sources of all products by id."""
    return {hit["_id"]: hit["_source"] for hit in client.search(index=index, body={"size": 100})["hits"]["hits"]}


def test_remove_undoes_ingest(client, cluster, index, encoder):
    """After ingest and remove every product is as it was before; a second removal writes nothing."""
    create_index(client, index)
    before = read_sources(client, index)
    client.update(index=index, id="4", body={"doc": {"title": "sofa 4"}}, refresh=True)
    ingest_index(client, index, encoder)
    result = CliRunner().invoke(remove, [index, "--yes", "--json", "--url", cluster])
    assert result.exit_code == 0, result.stderr
    assert (json.loads(result.stdout)["written"], json.loads(result.stdout)["objects"]) == (5, ["anthem"])
    assert read_sources(client, index) == before
    again = CliRunner().invoke(remove, [index, "--url", cluster], input="y\n")
    assert "0 products rewritten" in again.stdout
    assert "will stay in the mapping until you reindex" in again.stdout
    assert ingest_index(client, index, encoder).written == 5


def test_a_concurrent_change_is_kept(client, index, encoder):
    """A product that changes during the removal is read again: the change is kept and the values removed."""
    create_index(client, index)
    ingest_index(client, index, encoder)

    def change_price(_):
        client.update(index=index, id="1", body={"doc": {"Price": 9}})

    tally = remove_objects(client, index, ["anthem"], change_price, DEFAULT_OPTIONS)
    assert (tally.written, tally.failed, tally.retry_ids) == (5, 0, [])
    assert read_sources(client, index)["1"] == {"title": "sofa 1", "Price": 9, "n": [{"a": None}]}


def test_scripts_are_removed_with_the_last_index(client, index, encoder):
    """Stored scripts are kept, with the reason, while another index has values, of any kind; they go with the last one.

    Scripts of the user stay, whatever their names begin with.
    """
    other = f"{index}-other"
    for name, signals in ((index, None), (other, ("attention",))):
        create_index(client, name)
        ingest_index(client, name, encoder, options=IngestOptions(signals=signals))
    for name in (SCRIPT_NAME, *USER_SCRIPT_NAMES):
        client.put_script(id=name, body=SCRIPT)
    try:
        first = remove_from_index(client, index, lambda _: None, DEFAULT_OPTIONS)
        assert SCRIPT_NAME in first.kept
        assert "indices with values of a model may use them" in str(first)
        last = remove_from_index(client, other, lambda _: None, DEFAULT_OPTIONS)
        is_last = not _list_other_indices(client, other)  # other tests may have indices on the same cluster
        assert (SCRIPT_NAME in last.scripts) == is_last == (not client.get_script(id=SCRIPT_NAME, ignore=404)["found"])
        assert not {*first.kept, *last.kept, *last.scripts} & set(USER_SCRIPT_NAMES)
        assert all(client.get_script(id=name)["found"] for name in USER_SCRIPT_NAMES)
    finally:
        for name in (SCRIPT_NAME, *USER_SCRIPT_NAMES):
            client.delete_script(id=name, ignore=404)


def test_a_removal_names_three_indices(client, index, encoder):
    """Of the indices for which scripts are kept, three are named and the others counted."""
    names = [f"{index}-{number}" for number in range(5)]
    for name in names:
        create_index(client, name, 1)
        ingest_index(client, name, encoder, options=IngestOptions(signals=("attention",)))
    client.put_script(id=SCRIPT_NAME, body=SCRIPT)
    try:
        removal = remove_from_index(client, names[0], lambda _: None, DEFAULT_OPTIONS)
        assert len(re.findall(r"'[^' ]+'", removal.reason_kept)) == 3
        assert re.search(r" and \d+ more$", removal.reason_kept)
    finally:
        client.delete_script(id=SCRIPT_NAME, ignore=404)


def test_nothing_is_removed_without_confirmation(client, cluster, index, encoder):
    """If the user does not confirm, nothing is written."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    before = read_sources(client, index)
    assert CliRunner().invoke(remove, [index, "--url", cluster], input="n\n").exit_code == 1
    assert read_sources(client, index) == before


@pytest.mark.parametrize("options", [{"filter": {"terms": {"Price": [9]}}}, {"search_routing": "far"}])
def test_a_removal_says_what_an_alias_hides(client, cluster, index, encoder, options):
    """Products that the alias hides keep their values and the scripts; the command says how many and what to run."""
    create_index(client, index, settings={"number_of_shards": 3})
    client.update(index=index, id="4", body={"doc": {"Price": 9}}, refresh=True)
    ingest_index(client, index, encoder)
    client.put_script(id=SCRIPT_NAME, body=SCRIPT)
    name = f"{index}-few"
    client.indices.put_alias(index=index, name=name, body=options)
    hidden = 5 - client.count(index=name)["count"]
    assert hidden
    result = CliRunner().invoke(remove, [name, "--yes", "--url", cluster])
    assert result.exit_code == 0, result.stderr
    assert f"hides {hidden} product" in result.stdout
    assert f"anthem remove {index}\n" in result.stdout
    assert sum("anthem" in source for source in read_sources(client, index).values()) == hidden
    assert client.get_script(id=SCRIPT_NAME)
    rest = json.loads(CliRunner().invoke(remove, [index, "--yes", "--json", "--url", cluster]).stdout)
    assert (rest["written"], rest["hidden"]) == (hidden, 0)
    client.delete_script(id=SCRIPT_NAME, ignore=404)


def test_scripts_are_kept_if_no_index_answers(client, index, encoder, monkeypatch):
    """If OpenSearch answers 404 because the shards of all indices fail, values go, and scripts stay."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    read = client.indices.get_field_mapping
    # What matches no index is answered in the same way.
    monkeypatch.setattr(client.indices, "get_field_mapping", lambda fields, **_: read(fields=fields, index="nothing-*"))
    removal = remove_from_index(client, index, lambda _: None, DEFAULT_OPTIONS)
    assert (removal.written, removal.scripts) == (5, ())
    assert "run anthem remove again" in str(removal)
