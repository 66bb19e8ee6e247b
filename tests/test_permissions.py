"""docs/permissions.md: which requests each command sends to a cluster, and which permissions they need.

`python tests/test_permissions.py` prints the tables and roles of the document.
"""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import secured_proxy
from secured_proxy import SECRET, TITLES, command_result, require_password, secured

from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.permissions import PERMISSIONS
from anthem_core.opensearch.schema import MODEL_SIGNALS, ModelFields
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES, SHARD_DOC_SORT, parse_release
from anthem_ingest.ann import _delete_removed
from anthem_ingest.remove import _list_other_indices
from anthem_ingest.slices import SliceTask, ingest_slice
from anthem_plugin.scoring.painless import build_put_script_body, script_id
from anthem_plugin.service.script_storage import store_script

pytestmark = pytest.mark.node

authority, products, settings, shop = (
    secured_proxy.authority, secured_proxy.products, secured_proxy.settings, secured_proxy.shop,
)  # fmt: skip

# OpenSearch's security plugin checks these for the cluster despite their names;
# it checks all other `indices:` permissions per index.
CLUSTER_WIDE_INDEX_ACTIONS = frozenset(
    (
        "indices:data/read/mget",
        "indices:data/read/scroll",
        "indices:data/read/scroll/clear",
        "indices:data/write/bulk",
        "indices:admin/index_template/simulate_index",
        "indices:admin/template/get",
    )
)
DOCUMENT = Path(__file__).parent.parent / "docs" / "permissions.md"

# Requests by their keys in `PERMISSIONS`.
INGEST = (
    "GET /", "GET /INDEX", "PUT /INDEX/_mapping", "POST /INDEX/_count", "POST /INDEX/_search/point_in_time",
    "POST /_search", "DELETE /_search/point_in_time", "POST /INDEX/_bulk", "POST /INDEX/_bulk update",
    "POST /INDEX/_refresh",
)  # fmt: skip
PRUNE = (*INGEST, "POST /INDEX/_bulk index")
REMOVE = tuple(name for name in PRUNE if name != "POST /INDEX/_bulk update")
LOAD = (
    "GET /", "GET /INDEX", "POST /_index_template/_simulate_index", "GET /_template", "PUT /INDEX",
    "PUT /INDEX/_mapping", "POST /INDEX/_mget", "POST /INDEX/_search", "POST /INDEX/_bulk", "POST /INDEX/_bulk index",
    "POST /INDEX/_refresh",
    "POST /INDEX/_search/point_in_time", "POST /_search", "DELETE /_search/point_in_time",
)  # fmt: skip
COPY = (
    "HEAD /INDEX", "PUT /INDEX", "POST /INDEX/_bulk index", "POST /INDEX/_bulk delete", "POST /INDEX/_mget",
    "POST /INDEX/_search", "GET /INDEX/_alias", "POST /_aliases",
)  # fmt: skip
SEARCH = ("POST /INDEX/_search", "GET /INDEX/_mapping", "GET /INDEX/_mapping/field")
DOCTOR = (
    "GET /", "GET /INDEX", "GET /INDEX/_mapping", "GET /INDEX/_stats", "POST /INDEX/_search", "GET /_scripts",
    "GET /_cluster/settings", "GET /_cluster/health", "GET /_nodes/plugins", "GET /_nodes/stats",
    "GET /_cat/allocation",
)  # fmt: skip
REQUESTS_BY_COMMAND = {
    "ingest": INGEST,
    "ingest --beside --prune": PRUNE,
    "ingest --corpus": LOAD,
    "ingest --follow": (*INGEST, "HEAD /INDEX", "GET /INDEX/_stats"),
    "ingest --ann": (*INGEST, *COPY),
    "remove": (*REMOVE, "GET /_cluster/state", "GET /INDEX/_mapping/field", "DELETE /_scripts"),
    "search": (*SEARCH, "PUT /_scripts"),
    "search --rerank client": SEARCH,
    "serve": ("PUT /_scripts",),
    "doctor": DOCTOR,
}
# Before OpenSearch 3.3 an index is read by scrolling.
SCROLL_REQUESTS = {
    "POST /INDEX/_search/point_in_time": "POST /INDEX/_search",
    "POST /_search": "POST /_search/scroll",
    "DELETE /_search/point_in_time": "DELETE /_search/scroll",
}
ROLES = {
    "anthem-search": ("search",),
    "anthem-ingest": [name for name in REQUESTS_BY_COMMAND if name.startswith(("ingest", "remove"))],
    "anthem-doctor": ("doctor",),
}


def run_ingest(shop):
    """All products get their values; then one of several processes ingests its slice."""
    command_result("ingest", shop.index)
    ingest_slice(SliceTask(shop.index, "general", ("title",), ModelFields(), MODEL_SIGNALS, Path("dead")), 2, 0)


def run_prune(shop):
    """A second model's values are added, become the current ones, and the first model's are removed."""
    shop.ingest()
    command_result("ingest", shop.index, "--bundle", shop.other, "--beside", "--prune")


def run_corpus(shop):
    """Products are loaded from a file, into a new index and into one without values."""
    Path("shop.jsonl").write_text('{"_id": "1", "title": "fire tv"}', encoding="utf-8")
    command_result("ingest", f"{shop.index}-new", "--corpus", "shop.jsonl")
    command_result("ingest", shop.index, "--corpus", "shop.jsonl")


def run_follow(shop):
    """An index is followed until one new product has been ingested."""

    def sleep(_):
        if shop.client.exists(index=shop.index, id="new"):
            raise KeyboardInterrupt
        shop.client.index(index=shop.index, id="new", body={"title": "fire tv"})

    shop.patch.setattr("anthem_ingest.follow.time", SimpleNamespace(sleep=sleep))
    assert command_result("ingest", shop.index, "--follow")["written"] == len(TITLES) + 1


def run_ann(shop):
    """A copy with HNSW graphs takes over the alias; a product deleted from the original is deleted from the copy."""
    shop.client.indices.put_alias(index=shop.index, name=f"{shop.index}-alias")
    command_result("ingest", shop.index, "--ann")
    shop.client.delete(index=shop.index, id="1")
    with connect() as proxy_client:
        assert _delete_removed(proxy_client, shop.index, f"{shop.index}-ann") == 1


def run_remove(shop):
    """The values are removed, and the scripts if no other index needs them."""
    shop.ingest()
    shop.client.put_script(id=script_id(), body=build_put_script_body())
    assert command_result("remove", shop.index, "--yes")["written"] == len(TITLES)


def run_search(shop, mode=()):
    """A search that finds products before the script is stored, and one that finds nothing."""
    shop.ingest()
    shop.client.delete_script(id=script_id(), ignore=404)
    assert command_result("search", shop.index, "fire tv", *mode)["reranked"]
    assert command_result("search", shop.index, "mahogany", *mode)["hits"] == []


def run_doctor(shop):
    """An index is examined completely."""
    shop.ingest()
    command_result("doctor", shop.index, "--history", "history.jsonl")


SCENARIOS = {
    "ingest": run_ingest,
    "ingest --beside --prune": run_prune,
    "ingest --corpus": run_corpus,
    "ingest --follow": run_follow,
    "ingest --ann": run_ann,
    "remove": run_remove,
    "search": run_search,
    "search --rerank client": partial(run_search, mode=("--rerank", "client")),
    "serve": lambda _: store_script(),
    "doctor": run_doctor,
}


@pytest.mark.parametrize("command", REQUESTS_BY_COMMAND)
def test_a_command_sends_the_documented_requests(cluster, authority, settings, shop, command):
    """With user and password, each command works and sends the requests of docs/permissions.md, no others."""
    expected, release = set(REQUESTS_BY_COMMAND[command]), parse_release(shop.client.info())
    if not release.has(SHARD_DOC_SORT):
        expected = {SCROLL_REQUESTS.get(name, name) for name in expected}
    if not release.has(SAFE_MAPPING_CHANGES) and "PUT /INDEX/_mapping" in expected:
        expected.add("POST /INDEX/_count")
    if _list_other_indices(shop.client, shop.index):
        expected -= {"DELETE /_scripts"}
    with secured(cluster, authority, authenticate=require_password("shop", SECRET)) as proxy:
        settings(proxy.url, OPENSEARCH_USER="shop", OPENSEARCH_PASSWORD=SECRET)
        SCENARIOS[command](shop)
    # A cluster whose responses do not say what it is, as those of 2.19.1 or behind this proxy, is asked once.
    assert set(proxy.received) - ({"GET /"} - expected) == expected


def is_cluster_permission(permission):
    """Whether a role lists a permission under `cluster_permissions` rather than with its indices."""
    return permission.startswith("cluster:") or permission in CLUSTER_WIDE_INDEX_ACTIONS


def split_permissions(requests):
    """Permissions for the cluster, and those for the index, of some requests."""
    permissions = sorted({permission for request in requests for permission in PERMISSIONS[request]})
    for_cluster = [permission for permission in permissions if is_cluster_permission(permission)]
    return for_cluster, [permission for permission in permissions if permission not in for_cluster]


def build_role(commands):
    """Body of a role that may run these commands on `products` and indices whose names begin with it."""
    for_cluster, for_index = split_permissions(
        request for command in commands for request in REQUESTS_BY_COMMAND[command]
    )
    own = [{"index_patterns": ["products*"], "allowed_actions": for_index}]
    everywhere = [{"index_patterns": ["*"], "allowed_actions": [*PERMISSIONS["GET /INDEX/_mapping/field"]]}]
    return {"cluster_permissions": for_cluster, "index_permissions": own + everywhere * ("remove" in commands)}


def document_parts():
    """Generated parts of docs/permissions.md: permissions by command, requests, roles."""
    lines = ["| command | permissions for the cluster | permissions for INDEX |", "|---|---|---|"]
    for command, requests in REQUESTS_BY_COMMAND.items():
        cells = [", ".join(f"`{name}`" for name in permissions) for permissions in split_permissions(requests)]
        lines.append(f"| `{command}` | {' | '.join(cells)} |")
    yield "\n".join(lines)
    lines = ["| request | needs | sent by |", "|---|---|---|"]
    scroll_senders = "`ingest`, `remove` before OpenSearch 3.3"
    for request, permissions in PERMISSIONS.items():
        commands = [f"`{command}`" for command, requests in REQUESTS_BY_COMMAND.items() if request in requests]
        needs = ", ".join(f"`{permission}`" for permission in permissions)
        senders = ", ".join(commands) or (scroll_senders if request in SCROLL_REQUESTS.values() else "")
        lines += [f"| `{request}` | {needs} | {senders} |"] if senders else []
    yield "\n".join(lines)
    for name, commands in ROLES.items():
        yield f"PUT _plugins/_security/api/roles/{name}\n{json.dumps(build_role(commands), indent=2)}"


def test_the_document_lists_the_permissions():
    """Tables and roles in docs/permissions.md are the ones that these tests check."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [part for part in document_parts() if part not in text] == []


if __name__ == "__main__":
    print("\n\n".join(document_parts()))  # noqa: T201
