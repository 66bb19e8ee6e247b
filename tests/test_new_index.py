"""A new index gets what its index templates say, and ANTHEM's fields and defaults beside it; unfit ones are refused."""

import json
import warnings

import pytest
import row_loads
from opensearchpy.exceptions import AuthorizationException

from anthem_core.errors import ClusterError
from anthem_ingest.actions import ProductDocument
from anthem_ingest.ingest import load_documents
from anthem_ingest.new_index import merge_legacy_templates
from anthem_ingest.strict_fields import find_refused_fields

pytestmark = pytest.mark.node

load = row_loads.load

ROWS = [
    {"id": "1", "title": "Blue drill", "brand": "Acme"},
    {"id": "2", "title": "Red saw"},
    {"id": "3", "title": "Green lamp", "brand": "Bosch"},
]
OWN_TITLE = {"type": "text", "analyzer": "shop_de", "fields": {"raw": {"type": "keyword"}}}
ANALYSIS = {"analyzer": {"shop_de": {"tokenizer": "standard", "filter": ["lowercase"]}}}
STRICT = {"mappings": {"dynamic": "strict", "properties": {"title": {"type": "text"}}}}
NO_SOURCE = {"mappings": {"_source": {"enabled": False}, "properties": {"title": {"type": "text"}}}}


@pytest.fixture
def template(client, index):
    """Function that stores an index template, or a legacy one, for the index of the test."""
    stored = []

    def store(body=None, *, legacy=False, **more):
        put, delete = (
            (client.indices.put_template, client.indices.delete_template)
            if legacy
            else (client.indices.put_index_template, client.indices.delete_index_template)
        )
        parts = body or {} if legacy else {"template": body or {}, "priority": 500}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the local node has a template for all indices
            put(name=index, body={"index_patterns": [f"{index}*"], **parts, **more})
        stored.append(delete)

    yield store
    for delete in stored:
        delete(name=index)


def read_index(client, index):
    """Mapping and settings of an index."""
    body = client.indices.get(index=index)[index]
    return body["mappings"], body["settings"]["index"]


def test_a_title_that_searches_cannot_find_is_said(load, template, caplog):
    """A dynamic template may map texts as keywords, which only the first products show; the load warns then."""
    texts = {"all": {"match_mapping_type": "string", "mapping": {"type": "keyword"}}}
    template({"mappings": {"dynamic_templates": [texts]}})
    assert json.loads(load(ROWS).stdout)["written"] == 3
    assert "title is of type keyword" in caplog.text


def test_an_index_that_got_no_product_is_deleted(client, index, load, template, caplog):
    """If OpenSearch refuses every product of a load that created the index, the index is deleted again."""
    template({"mappings": {"properties": {"brand": {"type": "integer"}}}})
    done = load([ROWS[0], ROWS[2]])
    assert (done.exit_code, json.loads(done.stdout)["failed"]) == (8, 2)
    assert not client.indices.exists(index=index)
    assert "was created for this load, got no product, and was deleted again" in caplog.text


@pytest.mark.parametrize("legacy", [False, True])
def test_a_template_wins_over_the_defaults(client, index, load, template, legacy):
    """Fields, analysis, shards and replicas of a template are kept, and the model's fields are added."""
    properties = {"title": OWN_TITLE, "text": {"type": "keyword"}}
    settings = {"analysis": ANALYSIS, "number_of_shards": 3, "number_of_replicas": 1}
    own = {"whole": {"match_mapping_type": "long", "mapping": {"type": "integer"}}}
    mappings = {
        "properties": properties,
        "dynamic_templates": [own],
        "date_detection": True,
        "_meta": {"owner": "shop"},
    }
    template({"settings": settings, "mappings": mappings}, legacy=legacy)
    assert json.loads(load([{**ROWS[0], "stock": 5, "text": "x y"}]).stdout)["written"] == 1
    found, found_settings = read_index(client, index)
    assert {name: found["properties"][name] for name in properties} == properties
    assert found["properties"]["anthem"]["properties"]["vector"]["type"] == "knn_vector"
    assert found["properties"]["stock"]["type"] == "integer"
    assert found["date_detection"] is True
    assert (found["_meta"]["owner"], found["_meta"]["anthem"]["anthem"]["fields"]) == ("shop", ["title"])
    assert (found_settings["number_of_shards"], found_settings["number_of_replicas"]) == ("3", "1")
    assert "auto_expand_replicas" not in found_settings


def test_without_a_template_the_defaults_apply(client, index, load):
    """English text, a replica as soon as there is a second node, and no field that no product has."""
    assert json.loads(load(ROWS).stdout)["written"] == len(ROWS)
    mappings, settings = read_index(client, index)
    assert mappings["properties"]["title"] == {"type": "text", "analyzer": "english"}
    assert "metadata" not in mappings["properties"]
    assert settings["auto_expand_replicas"] == "0-1"


def test_a_default_analyzer_is_kept(client, index, load, template):
    """If a template names a default analyzer, the title gets that, not the English one."""
    template({"settings": {"analysis": {"analyzer": {"default": ANALYSIS["analyzer"]["shop_de"]}}}})
    assert json.loads(load(ROWS).stdout)["written"] == len(ROWS)
    assert read_index(client, index)[0]["properties"]["title"] == {"type": "text"}


def test_a_dynamic_template_maps_the_title(client, index, load, template):
    """A title that a dynamic template of the shop matches is mapped by it; the text, which it does not, is English."""
    own = {"names": {"match": "tit*", "mapping": {"type": "text", "analyzer": "german"}}}
    template({"mappings": {"dynamic_templates": [own]}})
    assert json.loads(load([{**ROWS[0], "text": "with a battery"}]).stdout)["written"] == 1
    properties = read_index(client, index)[0]["properties"]
    assert (properties["title"]["analyzer"], properties["text"]["analyzer"]) == ("german", "english")


def test_a_closed_mapping_gets_only_the_model(client, index, load, template):
    """A template that maps no new fields gets none but the model's."""
    template({"mappings": {"dynamic": "false", "properties": {"title": {"type": "text"}}}})
    assert json.loads(load(ROWS).stdout)["written"] == len(ROWS)
    assert read_index(client, index)[0]["properties"].keys() == {"title", "anthem"}


@pytest.mark.parametrize(
    ("body", "more", "message"),
    [
        (NO_SOURCE, {}, "keeps no _source"),
        (NO_SOURCE, {"legacy": True}, "keeps no _source"),
        ({"mappings": {"properties": {"anthem": {"type": "keyword"}}}}, {}, "add --as anthem_values"),
        ({"settings": {"index.mapping.total_fields.limit": 6}}, {}, "may have 6 fields"),
        ({"settings": {"index.mapping.total_fields.limit": 8}}, {}, "may have 8 fields"),
        ({"settings": {"index.blocks.write": True}}, {}, "is blocked by index.blocks.write"),
        (None, {"data_stream": {}}, "is a data stream, which accepts only new documents"),
        ({"mappings": {"_routing": {"required": True}}}, {}, "requires a routing (_routing.required)"),
        (
            {"mappings": {"dynamic": "strict", "properties": {"title": {"type": "text"}}}},
            {},
            "that the mapping lacks: id, brand",
        ),
    ],
)
def test_an_unfit_index_is_not_created(client, index, load, template, body, more, message):
    """An index that its template makes unfit is refused as an existing one is, and is not left behind."""
    template(body, **more)
    refused = load(ROWS)
    assert refused.exit_code == 6, refused.output
    error = json.loads(refused.stderr.splitlines()[-1])["error"]
    assert message in error
    assert "index template" in error
    assert not client.indices.exists(index=index)


def test_the_request_that_raises_the_limit_works(client, index, load, template):
    """The index that the message says to create takes the products."""
    template({"settings": {"index.mapping.total_fields.limit": 8}})
    error = json.loads(load(ROWS).stderr.splitlines()[-1])["error"]
    client.indices.create(index=index, body=json.loads(error.partition(f"PUT /{index} ")[2]))
    assert json.loads(load(ROWS).stdout)["written"] == len(ROWS)


def test_a_field_that_no_product_has_does_not_collide(index, load, template):
    """A template may map `metadata` as it likes, because the new index brings no such field."""
    template({"mappings": {"properties": {"metadata": {"type": "keyword"}}}})
    assert json.loads(load(ROWS).stdout)["written"] == len(ROWS), index


@pytest.fixture
def untold(client, monkeypatch):
    """A client that may not ask what the index templates say."""

    def forbid(*_, **__):
        raise AuthorizationException(403, "security_exception", {})

    monkeypatch.setattr(client.indices, "simulate_index_template", forbid)
    return client


def test_an_unknown_template_wins_too(untold, index, encoder, template):
    """If the cluster does not tell what its templates say, what they leave open is added after the creation."""
    template({"settings": {"analysis": ANALYSIS}, "mappings": {"properties": {"title": OWN_TITLE}}})
    document = ProductDocument("1", {"title": "red shoe", "stock": 5})
    assert load_documents(untold, index, [document], encoder).written == 1
    properties = read_index(untold, index)[0]["properties"]
    assert properties["title"] == OWN_TITLE
    assert properties["text"]["analyzer"] == "english"
    assert properties["stock"]["type"] == "double"


def test_an_unfit_new_index_is_deleted_again(untold, index, encoder, template):
    """An index that is found unfit after its creation is deleted, and the error reports the deletion."""
    template(NO_SOURCE)
    with pytest.raises(ClusterError, match=r"was just created, and was deleted again.*keeps no _source"):
        load_documents(untold, index, [ProductDocument("1", {"title": "red shoe"})], encoder)
    assert not untold.indices.exists(index=index)


def test_legacy_templates_are_merged_by_order():
    """Of the legacy templates that match, the one of the highest order wins; the others add what it leaves open."""
    templates = {
        "low": {"index_patterns": ["*"], "order": -1, "settings": {"index": {"codec": "x", "number_of_replicas": "0"}}},
        "high": {"index_patterns": ["a", "shop*"], "order": 2, "settings": {"index": {"number_of_replicas": "2"}}},
        "other": {"index_patterns": ["b*"], "order": 3, "settings": {"index": {"number_of_replicas": "5"}}},
    }
    merged = merge_legacy_templates("shop1", templates)
    assert merged["settings"]["index"] == {"codec": "x", "number_of_replicas": "2"}


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ({"title": "x", "id": 1}, ["id"]),
        ({"brand": {"name": "x", "city": "y"}}, ["brand.city"]),
        ({"brand.city": "y", "brand.name": "x"}, ["brand.city"]),
        ({"brand": [{"name": "x"}, {"city": "y"}]}, ["brand.city"]),
        ({"free": {"any": {"thing": 1}}, "off": {"any": 1}, "flat": {"any": 1}}, []),
    ],
)
def test_fields_that_a_strict_mapping_refuses(source, refused):
    """Fields at any depth that a strict mapping lacks are found; an object with another `dynamic` takes them."""
    name = {"properties": {"name": {"type": "keyword"}}}
    properties = {"title": {"type": "text"}, "brand": name, "free": {"type": "object", "dynamic": "true"}}
    properties |= {"off": {"type": "object", "enabled": False}, "flat": {"type": "flat_object"}}
    assert list(find_refused_fields({"dynamic": "strict", "properties": properties}, source)) == refused
