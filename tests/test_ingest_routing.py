"""Products with a routing, as tenants and parent-join indices have: loading them never makes a second copy."""

import json

import pytest
from click.testing import CliRunner

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import MATCH_ALL
from anthem_ingest.actions import ProductDocument
from anthem_ingest.cli import ingest
from anthem_ingest.ingest import ingest_index, load_documents
from anthem_ingest.mapping import IndexDescription
from anthem_ingest.routing import find_other_routings, routing_reason

SHARDS = 5
TITLES = {"properties": {"title": {"type": "text"}}}
JOIN = {"properties": {"title": {"type": "text"}, "kind": {"type": "join", "relations": {"product": "offer"}}}}


def create_index(client, index, tenants, mappings=TITLES, products=9):
    """Create an index of several shards; product n is called `shoe n`, and its routing is the n-th tenant."""
    client.indices.create(index=index, body={"settings": {"number_of_shards": SHARDS}, "mappings": mappings})
    for number in range(products):
        tenant = tenants[number % len(tenants)] if tenants else None
        client.index(index=index, id=str(number), body={"title": f"shoe {number}"}, params=route(tenant))
    client.indices.refresh(index=index)


def route(routing):
    """The routing as request parameters."""
    return {"routing": routing} if routing else {}


def rows(number, tenants=(None,), text="boot"):
    """Rows of a file, with the tenants in turn as their routing."""
    return [ProductDocument(str(row), {"title": f"{text} {row}"}, tenants[row % len(tenants)]) for row in range(number)]


def read_all(client, index):
    """Id, routing, title, and whether it has values, of each product."""
    client.indices.refresh(index=index)
    hits = client.search(index=index, body={"query": MATCH_ALL, "size": 100})["hits"]["hits"]
    return sorted(
        (hit["_id"], hit.get("_routing"), hit["_source"]["title"], "anthem" in hit["_source"]) for hit in hits
    )


@pytest.mark.parametrize(
    ("mappings", "reason"),
    [
        ({}, None),
        ({"_routing": {"required": False}, **TITLES}, None),
        ({"_routing": {"required": True}}, "_routing.required"),
        ({"_routing": {"required": "true"}}, "_routing.required"),
        (JOIN, "join field kind"),
        ({"properties": {"shop": JOIN}}, "join field shop.kind"),
    ],
)
def test_a_mapping_tells_whether_products_need_a_routing(mappings, reason):
    """A required routing and a join field, wherever it lies, are named as the reason."""
    found = routing_reason(IndexDescription("products", mappings, {}))
    assert (found is None) == (reason is None)
    assert reason is None or reason in found


@pytest.mark.node
def test_an_update_keeps_the_routing(client, index, encoder):
    """Ingest in place writes each routed product on its shard, and makes no second copy."""
    create_index(client, index, ["a", "b", None])
    assert ingest_index(client, index, encoder).written == 9
    expected = [(str(n), ("a", "b", None)[n % 3], f"shoe {n}", True) for n in range(9)]
    assert read_all(client, index) == expected


@pytest.mark.node
def test_a_load_keeps_the_routing_of_its_rows(client, index, encoder):
    """Rows with a routing replace the products with the same id and routing; a second load writes nothing."""
    tenants = ("a", "b", "c")
    create_index(client, index, tenants)
    assert load_documents(client, index, rows(9, tenants), encoder).written == 9
    assert read_all(client, index) == [(str(n), tenants[n % 3], f"boot {n}", True) for n in range(9)]
    report = load_documents(client, index, rows(9, tenants), encoder)
    assert (report.written, report.skipped) == (0, 9)


@pytest.mark.node
@pytest.mark.parametrize(
    ("stored", "given"),
    [
        (("a", "b"), (None,)),  # the issue: nine products became sixteen
        ((None, None, None, None, None, None, None, None, "a"), (None,)),
        ((), ("a", "b")),
        ((None,), (None, "a")),
    ],
)
def test_a_load_that_would_copy_products_is_refused(client, index, encoder, stored, given):
    """A row without the routing of its product, or with one where the product has none, stops the load before it."""
    create_index(client, index, stored)
    before, mapping = read_all(client, index), client.indices.get_mapping(index=index)
    with pytest.raises(ClusterError, match=r"with another routing than they would get.*'\d'.*`_routing`"):
        load_documents(client, index, rows(9, given), encoder)
    assert (read_all(client, index), client.indices.get_mapping(index=index)) == (before, mapping)


@pytest.mark.node
@pytest.mark.parametrize("options", [(), ("--partial",)])
@pytest.mark.parametrize("is_refreshed", [True, False])
def test_a_tenant_cannot_replace_the_product_of_another(client, cluster, index, tmp_path, options, is_refreshed):
    """A row whose id another tenant's product has stops the command; the rows of that tenant itself are loaded."""
    settings = {"number_of_shards": 1, "refresh_interval": -1}
    client.indices.create(index=index, body={"settings": settings, "mappings": TITLES})
    client.index(index=index, id="1", body={"title": "red chair"}, params=route("tenantA"), refresh=is_refreshed)
    file = tmp_path / "products.csv"
    arguments = [index, "--corpus", str(file), "--url", cluster, "--dead-letter", str(tmp_path / "dead"), *options]
    file.write_text("id,title,_routing\n1,blue chair,tenantB\n2,bed,tenantB\n")
    result = CliRunner().invoke(ingest, arguments)
    assert (result.exit_code, "'1' with routing 'tenantA'" in result.output) == (6, True), result.output
    assert read_all(client, index) == [("1", "tenantA", "red chair", False)]
    file.write_text("id,title,_routing\n1,blue chair,tenantA\n")
    assert CliRunner().invoke(ingest, arguments).exit_code == 0
    assert read_all(client, index) == [("1", "tenantA", "blue chair", True)]


def test_only_an_id_without_its_own_routing_is_another_product():
    """Of rows and products of several routings, those rows are found whose id is stored with other routings only."""
    hits = [{"_id": "1", "_routing": "a"}, {"_id": "1", "_routing": "b"}, {"_id": "2"}, {"_id": "3", "_routing": "a"}]
    rows = [("1", "b"), ("1", "c"), ("2", "2"), ("2", "a"), ("3", "3"), ("3", "a"), ("4", "a")]
    found = [find_other_routings([ProductDocument(name, {}, routing)], hits) for name, routing in rows]
    assert [len(hits) for hits in found] == [0, 1, 0, 1, 1, 0, 0]


@pytest.mark.node
def test_a_load_without_the_routing_that_an_index_needs_is_refused(client, index, encoder):
    """Where the mapping asks for a routing, a row without one stops the load, and rows with one are loaded."""
    create_index(client, index, (), TITLES | {"_routing": {"required": True}}, products=0)
    with pytest.raises(ClusterError, match=r"gives no routing for products such as '0'"):
        load_documents(client, index, rows(3), encoder)
    assert load_documents(client, index, rows(3, ("a",)), encoder).written == 3
    assert [found[:3] for found in read_all(client, index)] == [(str(n), "a", f"boot {n}") for n in range(3)]


@pytest.mark.node
def test_new_products_without_routing_are_loaded_beside_routed_ones(client, index, encoder):
    """Products whose ids an index does not have need no routing; the id of a product is as good as none."""
    create_index(client, index, ("a",), products=3)
    new = [ProductDocument("x", {"title": "sofa"}), ProductDocument("y", {"title": "lamp"}, "y")]
    assert load_documents(client, index, new, encoder).written == 2
    assert load_documents(client, index, [ProductDocument("x", {"title": "bed"}, "x")], encoder).written == 1
    assert len(read_all(client, index)) == 5


@pytest.mark.node
def test_an_alias_that_routes_is_loaded(client, index, encoder):
    """Through an alias with a routing of its own, rows need none: OpenSearch adds it to each request."""
    create_index(client, index, ("a",))
    client.indices.put_alias(index=index, name=f"{index}-a", body={"routing": "a"})
    assert load_documents(client, f"{index}-a", rows(9), encoder).written == 9
    assert read_all(client, index) == [(str(n), "a", f"boot {n}", True) for n in range(9)]


@pytest.mark.node
@pytest.mark.parametrize("tenants", [(), ("b",)])
def test_an_alias_that_would_route_products_elsewhere_is_refused(client, index, encoder, tenants):
    """Products that are in the index without the alias's routing are not written a second time through it."""
    create_index(client, index, tenants)
    client.indices.put_alias(index=index, name=f"{index}-a", body={"routing": "a"})
    before = read_all(client, index)
    with pytest.raises(ClusterError, match=rf"with another routing than they would get.*load the file into '{index}'"):
        load_documents(client, f"{index}-a", rows(9), encoder)
    assert read_all(client, index) == before


@pytest.mark.node
def test_the_command_checks_the_routing_of_a_whole_file_first(client, cluster, index, tmp_path):
    """A product deep in a file that would be copied stops the command before the first page is written."""
    create_index(client, index, ("a",), products=1)
    file, number = tmp_path / "products.jsonl", 1100
    lines = [json.dumps({"id": str(row), "title": f"boot {row}"}) for row in reversed(range(number))]
    file.write_text("\n".join(lines))
    arguments = [index, "--corpus", str(file), "--url", cluster, "--dead-letter", str(tmp_path / "dead")]
    result = CliRunner().invoke(ingest, arguments)
    assert result.exit_code == 6
    assert "already has 1 of these products" in result.output
    assert [found[0] for found in read_all(client, index)] == ["0"]


@pytest.mark.node
@pytest.mark.parametrize("options", [{"filter": {"term": {"active": True}}}, {"search_routing": "elsewhere"}])
def test_a_load_through_an_alias_sees_the_products_it_hides(client, cluster, index, tmp_path, options):
    """Routed products that an alias hides are not written a second time, beside themselves."""
    create_index(client, index, ("t1",), products=6)
    client.indices.put_alias(index=index, name=f"{index}-few", body=options)
    before, file = read_all(client, index), tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps({"id": str(row), "title": f"shoe {row}"}) for row in range(4)))
    arguments = [f"{index}-few", "--corpus", str(file), "--yes", "--url", cluster]
    result = CliRunner().invoke(ingest, [*arguments, "--dead-letter", str(tmp_path / "dead")])
    assert result.exit_code == 6, result.output
    assert "already has 4 of these products" in result.output
    assert read_all(client, index) == before
