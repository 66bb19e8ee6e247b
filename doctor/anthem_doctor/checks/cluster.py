"""Checks of the cluster, independent of any index: version, plugins, blocks, scripts, disks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from anthem_core.console import count_of
from anthem_core.opensearch.blocks import CLUSTER_BLOCKS, unblock_cluster_request
from anthem_core.opensearch.versions import OLDEST_RELEASE, UnsupportedClusterError, parse_release
from anthem_doctor.findings import DoctorTarget, Finding, Level, console_request, judge_fact
from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_doctor.facts import ClusterFacts, Fact

KNN_PLUGIN = "opensearch-knn"
# Plugins that a search pipeline of each kind needs.
PIPELINE_PLUGINS = {"rerank": ("opensearch-ml", "opensearch-neural-search"), "ml-inference": ("opensearch-ml",)}
EXPENSIVE_QUERIES_SETTING = "search.allow_expensive_queries"
_WATERMARK_SETTING = "cluster.routing.allocation.disk.watermark"
_BYTES_PER_UNIT = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}


def check_cluster(target: DoctorTarget, facts: ClusterFacts) -> list[Finding]:
    """All findings about a cluster that answers."""
    settings = facts.settings if isinstance(facts.settings, dict) else {}
    return [
        *judge_fact("version", facts.info, check_version),
        *judge_fact("k-NN", facts.nodes, check_knn_plugin),
        *judge_fact("blocks", facts.changed_settings, check_cluster_blocks),
        *judge_fact("scripts", facts.settings, lambda fact: check_script_settings(target, fact)),
        *judge_fact("script", facts.stored_script, lambda fact: check_stored_script(target, fact)),
        *judge_fact("compilations", facts.script_stats, lambda fact: check_compilations(fact, settings)),
        *judge_fact("disk", facts.disks, lambda fact: check_disks(fact, settings)),
    ]


def check_version(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the cluster runs a supported release of OpenSearch."""
    try:
        release = parse_release(info)
    except UnsupportedClusterError as error:
        yield Finding("version", "fault", f"the cluster is {error.cluster}", f"OpenSearch {OLDEST_RELEASE} or newer")
        return
    number = info["version"]["number"]
    if number.startswith(str(release)):
        yield Finding("version", "ok", f"OpenSearch {number}")
    else:
        yield Finding("version", "ok", f"OpenSearch {release} or newer, in compatibility mode (it reports {number})")


def check_knn_plugin(nodes: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether every data node has the k-NN plugin."""
    data_nodes = [node for node in nodes.values() if any("data" in role for role in node.get("roles", ["data"]))]
    missing = [node for node in data_nodes if KNN_PLUGIN not in installed_plugins(node)]
    if missing:
        names = ", ".join(node["name"] for node in missing)
        plugin = f"org.opensearch.plugin:{KNN_PLUGIN}:{missing[0].get('version', 'VERSION')}.0"
        install = f"bin/opensearch-plugin install {plugin}   # on each of these nodes, then restart it"
        yield Finding("k-NN", "fault", f"missing on {names}", f"{KNN_PLUGIN} on every data node", install)
    else:
        yield Finding("k-NN", "ok", f"installed on {len(data_nodes)} of {count_of(len(data_nodes), 'data node')}")


def check_cluster_blocks(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Whether blocks of the cluster let its indices be written and created; settings of the nodes set no block."""
    layers = {scope: settings.get(scope, {}) for scope in ("persistent", "transient")}
    effective = {**layers["persistent"], **layers["transient"]}
    blocks = [block for block in CLUSTER_BLOCKS if _is_true(effective.get(block))]
    for block in blocks:
        scopes = [scope for scope, changed in layers.items() if _is_true(changed.get(block))]
        command = "\n".join(unblock_cluster_request(block, scope) for scope in scopes)
        found = f"the cluster has the block {block} ({' and '.join(scopes)} setting)"
        if block.endswith("create_index"):
            expected = "a cluster that creates indices; otherwise ingest cannot, --ann included"
            yield Finding("blocks", "warning", found, expected, command)
        else:
            expected = "a cluster that can be written; otherwise ingest writes no values"
            yield Finding("blocks", "fault", found, expected, command)
    if not blocks:
        yield Finding("blocks", "ok", "the cluster has no blocks")


def _is_true(setting: object) -> bool:
    return str(setting).lower() == "true"


def installed_plugins(node: Mapping[str, Any]) -> set[str]:
    """Names of a node's plugins."""
    return {plugin["name"] for plugin in node.get("plugins", ())}


def missing_plugins(nodes: Fact, pipeline: str) -> list[str]:
    """Plugins that a pipeline needs and no node has; an empty list if the nodes are unknown."""
    if not isinstance(nodes, dict):
        return []
    installed = {plugin for node in nodes.values() for plugin in installed_plugins(node)}
    return [plugin for plugin in PIPELINE_PLUGINS[pipeline] if plugin not in installed]


def check_script_settings(target: DoctorTarget, settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the cluster lets stored scripts compute scores; otherwise searches are ranked in client mode."""
    required = {"script.allowed_types": "stored", "script.allowed_contexts": SCRIPT_CONTEXT}
    too_narrow = [name for name, value in required.items() if not _setting_allows(settings.get(name), value)]
    if too_narrow:
        found = "; ".join(f"{name}: {settings[name]}" for name in too_narrow)
        expected = (
            f"'{required[too_narrow[0]]}' among the allowed values (set it in opensearch.yml and restart the nodes), "
            "or reranking in client mode"
        )
        command = target.command("search", "QUERY", "--rerank", "client")
        yield Finding("scripts", "fault", found, expected, command)
    if str(settings.get(EXPENSIVE_QUERIES_SETTING, True)).lower() == "false":
        expected = "true, because the script runs in a `script_score` query; until then searches rank in client mode"
        found = f"{EXPENSIVE_QUERIES_SETTING}: false"
        yield Finding("scripts", "fault", found, expected, _change_setting(EXPENSIVE_QUERIES_SETTING, None))
    elif not too_narrow:
        yield Finding("scripts", "ok", "stored scripts may compute scores")


def _change_setting(name: str, value: object) -> str:
    """Request that sets a setting of the cluster; a transient value, which would hide it, is removed."""
    body = {"persistent": {name: value}, "transient": {name: None}}
    return console_request("PUT", "_cluster/settings", body)


def _setting_allows(setting: object, value: str) -> bool:
    """Whether a list of allowed values contains a value; an empty list, the default, allows all."""
    values = setting if isinstance(setting, list) else str(setting or "").split(",")
    allowed = {str(name).strip().lower() for name in values} - {""}
    return not allowed or bool(allowed & {value, "both", "all"})


def check_stored_script(target: DoctorTarget, stored: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Whether ANTHEM's script is stored under its id and unchanged."""
    name, script = script_id(), build_put_script_body()["script"]
    store = target.command("search", "QUERY")
    if stored is None:
        found = f"{name} is not stored yet; a client stores it at its first search, as this command does"
        yield Finding("script", "ok", f"{found}. Bodies of /rewrite need it", command=store)
    elif stored.get("source") != script["source"] or stored.get("lang") != script["lang"]:
        command = f"{console_request('DELETE', f'_scripts/{name}')}\n{store}"
        yield Finding("script", "fault", f"{name} was changed", "the script as this version stores it", command)
    else:
        yield Finding("script", "ok", f"{name} is stored and unchanged")


def check_compilations(nodes: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the script compilation limit was ever reached: a search that has to compile its script then fails."""
    stats = [node.get("script", {}) for node in nodes.values()]
    reached, evicted = (
        sum(stat.get(key, 0) for stat in stats) for key in ("compilation_limit_triggered", "cache_evictions")
    )
    setting, rate = _compilation_limit(settings)
    found = f"limit reached {count_of(reached, 'time')}, {count_of(evicted, 'script')} evicted since the nodes started"
    found += f"; limit: {rate}"
    if str(rate).startswith("0/"):
        expected = "a limit above 0: a node that has not compiled the script refuses every search that calls it"
        yield Finding("compilations", "fault", f"{setting}: {rate}", expected, _change_setting(setting, None))
    elif reached:
        expected = "never reached: scripts that differ from search to search should use params; or raise the limit"
        yield Finding("compilations", "warning", found, expected, _change_setting(setting, "300/5m"))
    else:
        yield Finding("compilations", "ok", found)


def _compilation_limit(settings: Mapping[str, Any]) -> tuple[str, str]:
    """The setting that limits compilations of the script, and its value: a general limit replaces those by context."""
    general, of_context = "script.max_compilations_rate", f"script.context.{SCRIPT_CONTEXT}.max_compilations_rate"
    if settings.get(general, "use-context") != "use-context":
        return general, str(settings[general])
    return of_context, str(settings.get(of_context, "unknown"))


def check_disks(nodes: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether a disk exceeds a watermark; above `flood_stage` OpenSearch blocks writes to its indices."""
    reporting = [node for node in nodes if node.get("disk.percent") is not None]
    levels: dict[str, Level] = {"flood_stage": "fault", "high": "warning"}
    for watermark, level in levels.items():
        setting = settings.get(f"{_WATERMARK_SETTING}.{watermark}")
        full = [node for node in reporting if _exceeds_watermark(setting, node)]
        if full:
            names = ", ".join(f"{node['node']} ({node['disk.percent']} %)" for node in full)
            expected = "free disk space: above flood_stage indices reject writes, those of ingest included"
            command = console_request("GET", "_cat/allocation?v")
            yield Finding("disk", level, f"above the watermark {watermark}: {names}", expected, command)
            return
    fullest = max((int(node["disk.percent"]) for node in reporting), default=0)
    yield Finding("disk", "ok", f"at most {fullest} % full")


def _exceeds_watermark(watermark: object, node: Mapping[str, Any]) -> bool:
    """Whether a node exceeds a watermark: a used share of the disk, or a number of free bytes."""
    match = re.fullmatch(r"([\d.]+)\s*(%|[kmgt]?b)?", str(watermark or "").lower())
    if not match:
        return False
    number, unit = float(match[1]), match[2]
    if unit in _BYTES_PER_UNIT:
        return int(node["disk.avail"]) < number * _BYTES_PER_UNIT[unit]
    return int(node["disk.percent"]) > (number if unit else number * 100)
