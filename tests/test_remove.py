"""Laws of `anthem remove`, on a real node."""

import json

import pytest
from click.testing import CliRunner

from anthem_ingest.cli import remove
from anthem_ingest.ingest import DEFAULT_OPTIONS, ingest_index
from anthem_ingest.remove import _list_other_indices, remove_from_index, remove_vectors

pytestmark = pytest.mark.node

SCRIPT = "anthem-containment-test"


def fill(client, index, number=5, **more):
    """Make an index of numbered sofas."""
    client.indices.create(index=index, body={"settings": {"number_of_replicas": 0}, **more})
    for identity in map(str, range(number)):
        client.index(index=index, id=identity, body={"title": f"sofa {identity}", "Price": 7, "n": [{"a": None}]})
    client.indices.refresh(index=index)


def sources(client, index):
    """Sources of all products by id."""
    return {hit["_id"]: hit["_source"] for hit in client.search(index=index, body={"size": 100})["hits"]["hits"]}


def test_what_ingest_put_in_is_taken_out(client, cluster, index, encoder):
    """After ingest and remove every product is as it was before, and a second time nothing is left to write."""
    fill(client, index)
    before = sources(client, index)
    client.update(index=index, id="4", body={"doc": {"title": "sofa 4"}}, refresh=True)
    ingest_index(client, index, encoder)
    result = CliRunner().invoke(remove, [index, "--yes", "--json", "--url", cluster])
    assert result.exit_code == 0, result.stderr
    assert (json.loads(result.stdout)["written"], json.loads(result.stdout)["objects"]) == (5, ["anthem"])
    assert sources(client, index) == before
    again = CliRunner().invoke(remove, [index, "--url", cluster], input="y\n")
    assert "0 products written anew" in again.stdout
    assert "stay in the mapping" in again.stdout
    assert ingest_index(client, index, encoder).written == 5


def test_a_change_meanwhile_stays(client, index, encoder):
    """A product that changes while it is read is read again: the change stays and the vector goes."""
    fill(client, index)
    ingest_index(client, index, encoder)

    def live(_):
        client.update(index=index, id="1", body={"doc": {"Price": 9}})

    tally = remove_vectors(client, index, ["anthem"], live, DEFAULT_OPTIONS)
    assert (tally.written, tally.failed, tally.again) == (5, 0, [])
    assert sources(client, index)["1"] == {"title": "sofa 1", "Price": 9, "n": [{"a": None}]}


def test_scripts_go_with_the_last_index(client, index, encoder):
    """Stored scripts stay while another index has vectors, and that is said; they go with the last one."""
    other = f"{index}-other"
    for name in (index, other):
        fill(client, name)
        ingest_index(client, name, encoder)
    body = {"script": {"lang": "painless", "source": "1"}}
    client.put_script(id=SCRIPT, body=body)
    client.put_script(id="shop-own", body=body)
    try:
        kept = remove_from_index(client, index, lambda _: None, DEFAULT_OPTIONS)
        assert SCRIPT in kept.kept
        assert other in str(kept)
        client.indices.delete(index=index)
        gone = remove_from_index(client, other, lambda _: None, DEFAULT_OPTIONS)
        alone = not _list_other_indices(client, other)  # on the cluster of the whole suite
        assert (SCRIPT in gone.scripts) == alone == (not client.get_script(id=SCRIPT, ignore=404)["found"])
        assert client.get_script(id="shop-own")["found"]
    finally:
        for name in (SCRIPT, "shop-own"):
            client.delete_script(id=name, ignore=404)


def test_nothing_is_removed_without_a_yes(client, cluster, index, encoder):
    """Without a yes nothing is written."""
    fill(client, index)
    ingest_index(client, index, encoder)
    before = sources(client, index)
    assert CliRunner().invoke(remove, [index, "--url", cluster], input="n\n").exit_code == 1
    assert sources(client, index) == before
