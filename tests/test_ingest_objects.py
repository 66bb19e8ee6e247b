"""The object that holds a model's values: a name of its own where `anthem` is the user's, and its recorded fields."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from small_index import match

from anthem_core.errors import ClusterError, DataError
from anthem_core.opensearch.schema import MATCH_ALL, ModelFields, fields_of_model
from anthem_ingest.actions import ProductDocument
from anthem_ingest.arguments import check_object_name
from anthem_ingest.cli import ingest, remove
from anthem_ingest.conflicts import UsersFieldError, without_model_object
from anthem_ingest.index_io import put_mapping
from anthem_ingest.ingest import IngestOptions, ingest_index, no_progress
from anthem_ingest.mapping import IndexDescription, build_missing_mapping, model_objects
from anthem_ingest.multi_model import choose_model_fields
from anthem_ingest.remove import remove_from_index
from anthem_plugin.client import AnthemClient

TITLES = ["fire tv stick", "fire pit", "tv table", "red tv", "garden hose"]
TEXT = {"title": {"type": "text"}, "price": {"type": "float"}}
# The user's own field `anthem`: its mapping, and its value in a product.
USERS_FIELDS = {
    "text": ({"type": "text"}, "O Canada"),
    "keyword": ({"type": "keyword"}, ["a", "b"]),
    "object": ({"properties": {"by": {"type": "text"}, "year": {"type": "long"}}}, {"by": "Kodály", "year": 1}),
    "unmapped": (None, {"composer": "Kodály"}),
    "unmapped leaf": (None, "O Canada"),
    "model": ({"properties": {"model": {"type": "keyword"}}}, {"model": "MRX 540"}),
    "unmapped model": (None, {"model": "MRX 540"}),
    "unmapped vector": (None, {"vector": "logo.svg"}),
    "unmapped numbers": (None, {"vector": [0.5, 2]}),
    "unmapped list": (None, [{"model": "0123456789abcdef"}]),
}  # fmt: skip


def create_index(client, index, users_field=None):
    """Create an index of products, each with a field `anthem` of the user's if one is given."""
    mapping, value = USERS_FIELDS[users_field] if users_field else (None, None)
    properties = TEXT | ({"anthem": mapping} if mapping else {})
    client.indices.create(index=index, body={"mappings": {"properties": properties, "dynamic": "false"}})
    for number, title in enumerate(TITLES):
        document = {"title": title, "price": number} | ({"anthem": value} if users_field else {})
        client.index(index=index, id=str(number), body=document)
    client.indices.refresh(index=index)


def sources(client, index):
    """The sources of all products by id."""
    hits = client.search(index=index, body={"query": MATCH_ALL, "size": 100})["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


@pytest.fixture
def run(cluster, index, tmp_path):
    """Function that runs a command on the index and returns its result."""

    def invoke(command, *arguments, name=index, **options):
        dead_letters = ["--dead-letter", str(tmp_path / "dead.jsonl")]
        return CliRunner().invoke(command, [name, *arguments, "--url", cluster, *dead_letters], **options)

    return invoke


@pytest.mark.parametrize("kind", ["text", "keyword", "object", "model"])
def test_a_field_of_the_user_is_no_object_of_a_model(kind):
    """A leaf, and an object with other contents, is never written into or removed; the error says what to do."""
    mappings = {"properties": {"anthem": USERS_FIELDS[kind][0]}}
    with pytest.raises(UsersFieldError, match=r"field anthem of its own.*anthem ingest shop --as anthem_values"):
        build_missing_mapping(IndexDescription("shop", mappings, {}), ModelFields(), 4)
    grown = {**ModelFields().mapping(4)["properties"]["anthem"]["properties"], "year": {"type": "long"}}
    assert model_objects({"properties": {"anthem": {"properties": grown}}}) == ()


@given(st.sets(st.sampled_from(["anthem", "anthem_values", "anthem_values_2", "anthem_values_3", "title"])))
def test_the_name_that_is_advised_is_free(taken):
    """The advice never names a field that the index has, and the option accepts it."""
    mappings = {"properties": {name: {"type": "text"} for name in taken | {"anthem"}}}
    with pytest.raises(UsersFieldError) as refused:
        build_missing_mapping(IndexDescription("shop", mappings, {}), ModelFields(), 4)
    name = str(refused.value).rpartition("--as ")[2]
    assert name not in taken
    assert check_object_name(None, None, name) == name


@pytest.mark.node
@pytest.mark.parametrize("kind", USERS_FIELDS)
def test_the_users_field_stays_as_it_is(client, index, encoder, run, kind):
    """Ingest refuses to write there; under another name, everything works and the user's field is never touched."""
    create_index(client, index, kind)
    before = sources(client, index)
    refused = run(ingest)
    assert (refused.exit_code, sources(client, index)) == (6, before)
    assert f"anthem ingest {index} --as anthem_values" in refused.output
    assert run(ingest, "--as", "model").exit_code == 0
    again = run(ingest, "--json")
    assert (json.loads(again.stdout)["object"], json.loads(again.stdout)["skipped"]) == ("model", len(TITLES))
    with_values = sources(client, index)
    assert {key: {k: v for k, v in source.items() if k != "model"} for key, source in with_values.items()} == before
    for mode in ("cluster", "client"):
        response = AnthemClient(client, encoder).search(index, match("fire tv"), mode=mode)
        assert response["anthem"]["reranked"], response["anthem"]
        assert response["anthem"]["signals"] == ["lexical", "containment", "attention"]
        assert [hit["_source"] for hit in response["hits"]["hits"]] == [
            before[hit["_id"]] for hit in response["hits"]["hits"]
        ]
    removed = run(remove, "--yes")
    assert removed.exit_code == 0, removed.output
    assert sources(client, index) == before
    assert client.indices.get_mapping(index=index)[index]["mappings"].get("_meta", {}) == {}


@pytest.mark.node
def test_a_file_with_a_field_of_that_name_is_refused(client, index, run, tmp_path):
    """A column `anthem` of the user's is neither dropped nor overwritten: another object takes the values."""
    file = tmp_path / "songs.jsonl"
    rows = [{"id": str(n), "title": title, "anthem": "yes"} for n, title in enumerate(TITLES)]
    file.write_text("\n".join(map(json.dumps, rows)))
    refused = run(ingest, "--corpus", str(file))
    assert refused.exit_code == 4, refused.output
    assert "--as anthem_values" in refused.output
    assert not client.indices.exists(index=index)
    assert run(ingest, "--corpus", str(file), "--as", "model").exit_code == 0
    assert {source["anthem"] for source in sources(client, index).values()} == {"yes"}
    again = run(ingest, "--corpus", str(file), "--json")
    assert json.loads(again.stdout)["skipped"] == len(TITLES)


USERS_OBJECTS = [{"model": "MRX 540"}, {"vector": "logo.svg"}, {"vector": [1, 2]}, {"model": None, "text_hash": "7"}]


@pytest.mark.node
@pytest.mark.parametrize("value", USERS_OBJECTS)
def test_an_object_in_a_file_is_the_users_by_its_values(client, index, run, tmp_path, value):
    """An object with no values of a model is never dropped, whatever its keys: it is refused, or kept with --as."""
    file = tmp_path / "receivers.jsonl"
    file.write_text(json.dumps({"_id": "a", "title": "receiver one", "anthem": value}))
    refused = run(ingest, "--corpus", str(file))
    assert refused.exit_code == 4, refused.output
    assert "has a field anthem of its own" in refused.output
    assert not client.indices.exists(index=index)
    assert run(ingest, "--corpus", str(file), "--as", "mv").exit_code == 0
    assert sources(client, index)["a"]["anthem"] == value
    assert run(remove, "--yes").exit_code == 0
    assert sources(client, index) == {"a": {"title": "receiver one", "anthem": value}}


@pytest.mark.node
def test_an_export_replaces_stale_values(client, index, encoder, bundle, run, tmp_path):
    """The products of an ingested index load as they were exported; values of another model are computed anew."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    exported = sources(client, index)
    stale = {"vector": [0.5, -1.0], "trigrams": "AAAA", "model": "0123456789abcdef", "text_hash": "0123456789abcdef"}
    exported["0"]["anthem"] = stale
    exported["1"]["anthem"] = dict.fromkeys(stale)
    file = tmp_path / "export.jsonl"
    file.write_text("\n".join(json.dumps({"_id": key, **source}) for key, source in exported.items()))
    loaded = run(ingest, "--corpus", str(file), name=f"{index}-copy")
    assert loaded.exit_code == 0, loaded.output
    copied = sources(client, f"{index}-copy")
    client.indices.delete(index=f"{index}-copy")
    assert {source["anthem"]["model"] for source in copied.values()} == {bundle.model_id}
    assert set(copied) == set(exported)


@pytest.mark.node
def test_one_product_of_the_users_is_enough(client, index, run, tmp_path):
    """Behind a thousand products without an object, one with data of the user's is found before anything is written."""
    client.indices.create(index=index, body={"mappings": {"properties": TEXT, "dynamic": "false"}})
    lines = [line for n in range(1000) for line in ({"index": {"_id": str(n)}}, {"title": f"sofa {n}"})]
    client.bulk(index=index, body=lines)
    client.index(index=index, id="last", body={"title": "receiver", "anthem.model": "MRX 540"}, refresh=True)
    client.indices.put_alias(index=index, name=f"{index}-sofas", body={"filter": {"match": {"title": "sofa"}}})
    file = tmp_path / "more.jsonl"
    file.write_text(json.dumps({"_id": "new", "title": "boot"}))
    for arguments in ([], ["--slices", "2"], ["--corpus", str(file)]):
        for name in (index, f"{index}-sofas"):
            refused = run(ingest, *arguments, name=name)
            assert refused.exit_code == 6, refused.output
            assert "field anthem of its own (with the fields model)" in refused.output
    assert client.count(index=index)["count"] == 1001
    assert "anthem" not in client.indices.get_mapping(index=index)[index]["mappings"]["properties"]


@pytest.mark.node
def test_what_a_feed_writes_over_the_values_stays(client, index, encoder, run):
    """A removal leaves an object alone that is no longer a model's."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    client.index(index=index, id="0", body={"title": "receiver", "anthem": {"model": "MRX 540"}}, refresh=True)
    assert run(remove, "--yes").exit_code == 0
    found = sources(client, index)
    assert found.pop("0")["anthem"] == {"model": "MRX 540"}
    assert not any("anthem" in source for source in found.values())


@pytest.mark.parametrize("column", ["anthem.song", "anthem.model"])
def test_a_dotted_column_below_the_object_is_refused(column):
    """A column that OpenSearch would store in the object of the values is refused, and one beside it is kept."""
    documents = [ProductDocument("1", {"title": "sofa", "anthems.song": "x"}), ProductDocument("2", {column: "x"})]
    checked = without_model_object(documents, "anthem", "shop")
    assert next(checked) == documents[0]
    with pytest.raises(DataError, match=rf"'2' of the file has a field {column}.*--as anthem_values"):
        next(checked)


@pytest.mark.node
def test_values_are_in_one_object(client, index, encoder, bundle):
    """If an index has a model's values already, another name is refused; a name that cannot be recorded is too."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    assert choose_model_fields(client, index, bundle.model_id, name="anthem") == ModelFields()
    with pytest.raises(ClusterError, match=r"in anthem, not in other\. Leave out --as"):
        choose_model_fields(client, index, bundle.model_id, name="other")
    remove_from_index(client, index, no_progress, IngestOptions(accept_outages=True))
    put_mapping(client, index, {"_meta": {"anthem": "since 2019"}})
    with pytest.raises(ClusterError, match="cannot be recorded"):
        choose_model_fields(client, index, bundle.model_id, name="other")


@pytest.mark.parametrize("name", ["", "_x", "a.b", "a*", "1a", "anthem_current", "anthem_0123abcd"])
def test_names_that_no_object_can_have_are_usage_errors(name):
    """A name with a point, a pattern or a meaning of its own is refused before anything is sent."""
    result = CliRunner().invoke(ingest, ["shop", "--as", name, "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 2
    assert "anthem_values" in result.output
    assert ("is reserved" in result.output) == name.startswith("anthem_")


def test_a_template_needs_no_file(tmp_path):
    """`--template` prints requests only, so a file beside it is a usage error and is not ignored."""
    (tmp_path / "few.csv").write_text("id,title\n1,sofa\n")
    result = CliRunner().invoke(ingest, ["shop", "--template", "--corpus", str(tmp_path / "few.csv")])
    assert (result.exit_code, "--template" in result.output) == (2, True)


def check_questions(run, delta):
    """An unknown field is named before any question, a file with its products, and a machine is not asked."""
    unknown = run(ingest, "--field", "nope")
    assert (unknown.exit_code, "was ingested from" in unknown.output) == (6, False)
    assert "can have text in nope" in unknown.output
    delta.write_text("id,title,price\n0,red boot,1\n")
    file = run(ingest, "--corpus", str(delta), "--field", "price")
    assert (file.exit_code, "The file's 1 product would get values of price" in file.output) == (1, True)
    assert "--beside" not in file.output
    machine = run(ingest, "--field", "price", "--json")
    assert (machine.exit_code, machine.stdout) == (1, "")
    assert "--yes" in json.loads(machine.stderr.splitlines()[-1])["error"]


@pytest.mark.node
def test_other_fields_replace_values_only_on_request(client, index, run, tmp_path):
    """Fields other than the recorded ones are refused unless confirmed; the recorded ones need no option."""
    create_index(client, index)
    assert run(ingest, "--field", "title").exit_code == 0
    before = sources(client, index)
    for named in (["price", "title"], ["title", "price"]):
        refused = run(ingest, *[word for field in named for word in ("--field", field)])
        assert (refused.exit_code, sources(client, index)) == (1, before)
        assert "was ingested from title" in refused.output
        assert f"those of {len(TITLES)} products. Add --yes" in refused.output
    assert json.loads(run(ingest, "--json").stdout)["skipped"] == len(TITLES)
    assert json.loads(run(ingest, "--field", "title", "--json").stdout)["skipped"] == len(TITLES)
    check_questions(run, tmp_path / "delta.csv")
    client.indices.put_alias(index=index, name=f"{index}-one", body={"filter": {"ids": {"values": ["0"]}}})
    hidden = run(ingest, "--field", "price", "--field", "title", name=f"{index}-one").output
    assert (
        f"those of 1 product. The next ingest of '{index}' would replace those of the other {len(TITLES) - 1}" in hidden
    )
    assert sources(client, index) == before
    assert run(ingest, "--field", "price", "--field", "title", input="y\n").exit_code == 0
    assert json.loads(run(ingest, "--json").stdout)["skipped"] == len(TITLES)
    assert json.loads(run(ingest, "--field", "title", "--yes", "--json").stdout)["written"] == len(TITLES)
    assert read_record(client, index, "anthem")["fields"] == ["title"]


@pytest.mark.node
def test_other_fields_beside_the_recorded_ones(client, index, run, bundle):
    """With --beside the values of other fields get an object of their own, and the first ones stay."""
    create_index(client, index)
    assert run(ingest).exit_code == 0
    before = {key: source["anthem"] for key, source in sources(client, index).items()}
    assert run(ingest, "--field", "price", "--field", "title", "--beside").exit_code == 0
    own = fields_of_model(bundle.model_id).name
    assert {key: source["anthem"] for key, source in sources(client, index).items()} == before
    assert read_record(client, index, own)["fields"] == ["price", "title"]
    assert json.loads(run(ingest, "--json").stdout)["object"] == own


def read_record(client, index, name):
    """The record of an object."""
    return client.indices.get_mapping(index=index)[index]["mappings"]["_meta"]["anthem"][name]


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("searched", ["own", "both", "pit", "pit of both"])
def test_searches_hide_only_the_objects_of_models(client, index, encoder, run, mode, searched):
    """The user's `anthem` and `anthem_notes` stay in the hits of one index, of two and of a PIT; no value leaves."""
    users = {"anthem": "O Canada", "anthem_notes": {"vector": [1.5], "trigrams": "abc"}}
    create_index(client, index, "keyword")
    shop = f"{index}-shop"
    create_index(client, shop)
    try:
        for number in range(len(TITLES)):
            client.update(index=index, id=str(number), body={"doc": users}, params={"refresh": "true"})
        before = {(name, key): source for name in (index, shop) for key, source in sources(client, name).items()}
        assert run(ingest, "--as", "my_vals").exit_code == 0
        assert run(ingest, name=shop).exit_code == 0
        pit = client.create_pit(index=index if searched == "pit" else f"{index},{shop}", params={"keep_alive": "1m"})[
            "pit_id"
        ]
        body = match("fire tv") | ({"pit": {"id": pit}} if "pit" in searched else {})
        name = {
            "own": index,
            "both": f"{index},{shop}",
        }.get(searched)
        anthem = AnthemClient(client, encoder)
        response = anthem.search(name, body, mode=mode)
        (several,) = anthem.msearch([{}, body], name)["responses"]
        assert [hit["_source"] for hit in several["hits"]["hits"]] == [
            before[hit["_index"], hit["_id"]] for hit in several["hits"]["hits"]
        ]
        client.delete_pit(body={"pit_id": [pit]})
        hits = response["hits"]["hits"]
        assert hits
        for hit in hits:
            assert hit["_source"] == before[hit["_index"], hit["_id"]]
        assert response["anthem"]["reranked"], response["anthem"]
    finally:
        client.indices.delete(index=shop)


def ingest_then_feed(client, index, encoder, field):
    """Ingest an index; then a feed adds a product with a field of its own, and one without."""
    client.indices.create(index=index, body={"mappings": {"properties": TEXT}})
    for number, title in enumerate(TITLES):
        client.index(index=index, id=str(number), body={"title": title}, refresh=True)
    ingest_index(client, index, encoder)
    client.index(index=index, id="feed", body={"title": "phone", **field}, refresh=True)
    client.index(index=index, id="new", body={"title": "new phone"}, refresh=True)
    return {str(number): {"title": title} for number, title in enumerate(TITLES)} | {"new": {"title": "new phone"}}


@pytest.mark.node
@pytest.mark.parametrize(
    "field", [{"anthem": [{"model": "iPhone"}]}, {"anthem": {"model": "iPhone"}}, {"anthem.model": "iPhone"}]
)
def test_one_product_with_data_of_its_own_fails_alone(client, index, encoder, run, field):
    """What a feed writes into a recorded object stops no other product, and neither command changes it."""
    products = ingest_then_feed(client, index, encoder, field)
    done = run(ingest)
    assert done.exit_code == 8, done.stderr
    assert "its field anthem holds data of its own" in done.stderr
    assert {"vector", "trigrams"} <= sources(client, index)["new"]["anthem"].keys()
    assert run(remove, "--yes").exit_code == 0
    assert sources(client, index) == {**products, "feed": {"title": "phone", **field}}


@pytest.mark.node
@pytest.mark.parametrize("field", [{"anthem": {"note": "mine"}}, {"anthem.note": "mine"}])
def test_a_field_that_a_feed_adds_to_the_object_stays(client, index, encoder, run, field):
    """The mapping of the object then has a field of the user's too; the object is still found and removed."""
    products = ingest_then_feed(client, index, encoder, field)
    assert run(ingest).exit_code == 0
    assert {"vector", "trigrams"} <= sources(client, index)["new"]["anthem"].keys()
    assert run(remove, "--yes").exit_code == 0
    found = sources(client, index)
    fed = found.pop("feed")
    assert (fed.get("anthem.note") or fed["anthem"]["note"]) == "mine"
    assert found == products
