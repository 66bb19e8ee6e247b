"""Laws of docs/permissions.md: what each command sends to a cluster, and what that takes.

`python tests/test_permissions.py` prints the tables and roles of the document.
"""

import json
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import secured_proxy
from secured_proxy import SECRET, TITLES, done, password, secured

from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.permissions import PERMISSIONS, is_cluster_permission
from anthem_core.opensearch.schema import VectorFields
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES, SHARD_DOC_SORT, parse_release
from anthem_ingest.ann import _delete_removed
from anthem_ingest.remove import _list_other_indices
from anthem_ingest.slices import SliceTask, ingest_slice
from anthem_plugin.scoring.painless import build_put_script_body, script_id
from anthem_plugin.service.cli import _store_script

pytestmark = pytest.mark.node

authority, products, settings, shop = (
    secured_proxy.authority, secured_proxy.products, secured_proxy.settings, secured_proxy.shop,
)  # fmt: skip

DOCUMENT = Path(__file__).parent.parent / "docs" / "permissions.md"

INGEST = (
    "GET /", "GET /INDEX", "PUT /INDEX/_mapping", "POST /INDEX/_count", "POST /INDEX/_search/point_in_time",
    "POST /_search", "DELETE /_search/point_in_time", "POST /_bulk", "POST /_bulk update", "POST /INDEX/_refresh",
)  # fmt: skip
PRUNE = (*INGEST, "POST /_bulk index")
REMOVE = tuple(name for name in PRUNE if name not in ("PUT /INDEX/_mapping", "POST /_bulk update"))
LOAD = ("GET /", "GET /INDEX", "PUT /INDEX", "PUT /INDEX/_mapping", "POST /INDEX/_mget", "POST /_bulk",
        "POST /_bulk index", "POST /INDEX/_refresh")  # fmt: skip
COPY = (
    "HEAD /INDEX", "PUT /INDEX", "POST /_bulk index", "POST /_bulk delete", "POST /INDEX/_mget", "POST /INDEX/_search",
    "GET /INDEX/_alias", "POST /_aliases",
)  # fmt: skip
DOCTOR = (
    "GET /", "GET /INDEX", "GET /INDEX/_stats", "POST /INDEX/_search", "GET /_scripts", "GET /_cluster/settings",
    "GET /_cluster/health", "GET /_nodes/plugins", "GET /_nodes/stats", "GET /_cat/allocation",
)  # fmt: skip
USES = {
    "ingest": INGEST,
    "ingest --beside --prune": PRUNE,
    "ingest --corpus": LOAD,
    "ingest --follow": (*INGEST, "HEAD /INDEX", "GET /INDEX/_stats"),
    "ingest --ann": (*INGEST, *COPY),
    "remove": (*REMOVE, "GET /_cluster/state", "GET /INDEX/_mapping/field", "DELETE /_scripts"),
    "search": ("GET /", "POST /INDEX/_search", "GET /INDEX/_mapping/field", "PUT /_scripts"),
    "search --rerank client": ("GET /", "POST /INDEX/_search", "GET /INDEX/_mapping/field"),
    "serve": ("PUT /_scripts",),
    "doctor": DOCTOR,
}
# Before OpenSearch 3.3 an index is read by scrolling.
SCROLL = {
    "POST /INDEX/_search/point_in_time": "POST /INDEX/_search",
    "POST /_search": "POST /_search/scroll",
    "DELETE /_search/point_in_time": "DELETE /_search/scroll",
}
ROLES = {
    "anthem-search": ("search",),
    "anthem-ingest": [name for name in USES if name.startswith(("ingest", "remove"))],
    "anthem-doctor": ("doctor",),
}


def ingests(shop):
    """All products get their vectors, and one process of several does its share."""
    done("ingest", shop.index)
    ingest_slice(SliceTask(shop.index, "general", ("title",), VectorFields(), Path("dead")), 0, 2)


def changes(shop):
    """A second model's vectors come beside the first one's, are switched to, and the first go."""
    shop.point()
    done("ingest", shop.index, "--bundle", shop.other, "--beside", "--prune")


def loads(shop):
    """Products from a file, into a new index and into one without vectors."""
    Path("shop.jsonl").write_text('{"_id": "1", "title": "fire tv"}', encoding="utf-8")
    done("ingest", f"{shop.index}-new", "--corpus", "shop.jsonl")
    done("ingest", shop.index, "--corpus", "shop.jsonl")


def follows(shop):
    """An index is followed until one product has come."""

    def sleep(_):
        if shop.client.exists(index=shop.index, id="new"):
            raise KeyboardInterrupt
        shop.client.index(index=shop.index, id="new", body={"title": "fire tv"})

    shop.patch.setattr("anthem_ingest.follow.time", SimpleNamespace(sleep=sleep))
    before = signal.getsignal(signal.SIGTERM)
    assert done("ingest", shop.index, "--follow")["written"] == len(TITLES) + 1
    signal.signal(signal.SIGTERM, before)


def copies(shop):
    """A copy with graphs takes the alias; what is gone from the original goes from the copy."""
    shop.client.indices.put_alias(index=shop.index, name=f"{shop.index}-alias")
    done("ingest", shop.index, "--ann")
    shop.client.delete(index=shop.index, id="1")
    with connect() as through:
        assert _delete_removed(through, shop.index, f"{shop.index}-ann") == 1


def removes(shop):
    """The vectors go, and the scripts where nobody else needs them."""
    shop.point()
    shop.client.put_script(id=script_id(), body=build_put_script_body())
    assert done("remove", shop.index, "--yes")["written"] == len(TITLES)


def searches(shop, mode=()):
    """A search that finds something, where no script is stored yet, and one that finds nothing."""
    shop.point()
    shop.client.delete_script(id=script_id(), ignore=404)
    assert done("search", shop.index, "fire tv", *mode)["reranked"]
    assert done("search", shop.index, "mahogany", *mode)["hits"] == []


def examines(shop):
    """An index is examined from end to end."""
    shop.point()
    done("doctor", shop.index, "--history", "history.jsonl")


SCENARIOS = {
    "ingest": ingests,
    "ingest --beside --prune": changes,
    "ingest --corpus": loads,
    "ingest --follow": follows,
    "ingest --ann": copies,
    "remove": removes,
    "search": searches,
    "search --rerank client": partial(searches, mode=("--rerank", "client")),
    "serve": lambda _: _store_script(),
    "doctor": examines,
}


@pytest.mark.parametrize("command", USES)
def test_a_command_sends_what_the_document_says(cluster, authority, settings, shop, command):
    """With user and password each command does its work, and sends the requests of docs/permissions.md, no others."""
    expected, release = set(USES[command]), parse_release(shop.client.info())
    if not release.has(SHARD_DOC_SORT):
        expected = {SCROLL.get(name, name) for name in expected}
    if not release.has(SAFE_MAPPING_CHANGES) and "PUT /INDEX/_mapping" in expected:
        expected.add("POST /INDEX/_count")
    if _list_other_indices(shop.client, shop.index):
        expected -= {"DELETE /_scripts"}
    with secured(cluster, authority, refusal=password("shop", SECRET)) as proxy:
        settings(proxy.url, OPENSEARCH_USER="shop", OPENSEARCH_PASSWORD=SECRET)
        SCENARIOS[command](shop)
    assert set(proxy.seen) == expected


def split(names):
    """Permissions for the cluster, and those for the index, of some requests."""
    found = sorted({permission for name in names for permission in PERMISSIONS[name]})
    return [one for one in found if is_cluster_permission(one)], [
        one for one in found if not is_cluster_permission(one)
    ]


def role(commands):
    """Body of a role that may do what these commands do with `products` and what is named after it."""
    cluster, index = split(name for command in commands for name in USES[command])
    own = [{"index_patterns": ["products*"], "allowed_actions": index}]
    everywhere = [{"index_patterns": ["*"], "allowed_actions": [*PERMISSIONS["GET /INDEX/_mapping/field"]]}]
    return {"cluster_permissions": cluster, "index_permissions": own + everywhere * ("remove" in commands)}


def parts():
    """What docs/permissions.md holds: permissions by command, requests, roles."""
    lines = ["| command | permissions for the cluster | permissions for INDEX |", "|---|---|---|"]
    for command, names in USES.items():
        cells = [", ".join(f"`{one}`" for one in some) for some in split(names)]
        lines.append(f"| `{command}` | {' | '.join(cells)} |")
    yield "\n".join(lines)
    lines = ["| request | takes | sent by |", "|---|---|---|"]
    for name in PERMISSIONS:
        commands = [f"`{command}`" for command, names in USES.items() if name in names]
        takes = ", ".join(f"`{one}`" for one in PERMISSIONS[name])
        sent = ", ".join(commands) or ("`ingest`, `remove` before OpenSearch 3.3" if name in SCROLL.values() else "")
        lines += [f"| `{name}` | {takes} | {sent} |"] if sent else []
    yield "\n".join(lines)
    for name, commands in ROLES.items():
        yield f"PUT _plugins/_security/api/roles/{name}\n{json.dumps(role(commands), indent=2)}"


def test_the_document_holds_what_the_commands_take():
    """Tables and roles in docs/permissions.md are those these tests hold true."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [part for part in parts() if part not in text] == []


if __name__ == "__main__":
    print("\n\n".join(parts()))  # noqa: T201
