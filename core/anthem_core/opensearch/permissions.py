"""Which permissions of OpenSearch's security plugin each request of this distribution needs; docs/permissions.md.

The table was made with a node that logged every action each request starts: the plugin checks the permission of that
name.
"""

from __future__ import annotations

# By method and path; INDEX is the name of an index, and anything after the path is omitted.
PERMISSIONS: dict[str, tuple[str, ...]] = {
    "GET /": ("cluster:monitor/main",),
    "GET /INDEX": ("indices:admin/get",),
    "HEAD /INDEX": ("indices:admin/get",),
    "PUT /INDEX": ("indices:admin/create",),
    "DELETE /INDEX": ("indices:admin/delete",),
    "PUT /INDEX/_mapping": ("indices:admin/mapping/put",),
    "GET /INDEX/_mapping": ("indices:admin/mappings/get",),
    "GET /INDEX/_mapping/field": ("indices:admin/mappings/fields/get*",),
    "GET /INDEX/_alias": ("indices:admin/aliases/get",),
    "POST /_aliases": ("indices:admin/aliases",),
    "GET /INDEX/_stats": ("indices:monitor/stats",),
    "POST /INDEX/_refresh": ("indices:admin/refresh*",),
    "POST /INDEX/_count": ("indices:data/read/search",),
    "POST /INDEX/_search": ("indices:data/read/search",),
    "POST /_search": ("indices:data/read/search",),
    "POST /INDEX/_search/point_in_time": ("indices:data/read/point_in_time/create",),
    "DELETE /_search/point_in_time": ("indices:data/read/point_in_time/delete",),
    "POST /_search/scroll": ("indices:data/read/scroll",),
    "DELETE /_search/scroll": ("indices:data/read/scroll/clear",),
    "POST /INDEX/_mget": ("indices:data/read/mget", "indices:data/read/mget*"),
    "POST /INDEX/_bulk": ("indices:data/write/bulk", "indices:data/write/bulk*"),
    "POST /INDEX/_bulk index": ("indices:data/write/index",),  # by the action on the product
    "POST /INDEX/_bulk update": ("indices:data/write/update",),
    "POST /INDEX/_bulk delete": ("indices:data/write/delete",),
    "POST /_index_template/_simulate_index": ("indices:admin/index_template/simulate_index",),
    "GET /_template": ("indices:admin/template/get",),
    "PUT /_scripts": ("cluster:admin/script/put",),
    "GET /_scripts": ("cluster:admin/script/get",),
    "DELETE /_scripts": ("cluster:admin/script/delete",),
    "GET /_cluster/state": ("cluster:monitor/state",),
    "GET /_cluster/settings": ("cluster:monitor/state",),
    "GET /_cluster/health": ("cluster:monitor/health",),
    "GET /_nodes/plugins": ("cluster:monitor/nodes/info",),
    "GET /_nodes/stats": ("cluster:monitor/nodes/stats",),
    "GET /_cat/allocation": ("cluster:monitor/state", "cluster:monitor/nodes/stats"),
}


def match_request(method: str, path: str) -> str | None:
    """Key of a request in `PERMISSIONS`; None for a request that this distribution does not send."""
    first, *rest = path.strip("/").split("/")
    is_index = first and not first.startswith("_")
    request = f"{method} /{'/'.join(['INDEX' if is_index else first, *rest])}"
    keys = [key for key in PERMISSIONS if request == key or (request.startswith(f"{key}/") and key != "GET /")]
    return max(keys, key=len, default=None)


def permission_advice(method: str, path: str) -> str:
    """What to ask for if the cluster forbids a request."""
    request = match_request(method, path)
    if request is None:
        return "Ask for the permission that the reason names."
    return f"{method} {path} needs {', '.join(PERMISSIONS[request])}; docs/permissions.md has roles that grant it."
