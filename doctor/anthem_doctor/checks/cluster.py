"""What `anthem doctor` looks at in a cluster, whatever the index: version, plugins, scripts, disks. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.versions import parse_release
from anthem_doctor.findings import DoctorTarget, Fact, Finding, Level, console_request, count_of, judge_fact
from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

KNN_PLUGIN = "opensearch-knn"
# What a search pipeline of each kind needs.
PIPELINE_PLUGINS = {"rerank": ("opensearch-ml", "opensearch-neural-search"), "ml-inference": ("opensearch-ml",)}
_WATERMARK_SETTING = "cluster.routing.allocation.disk.watermark"
_BYTES_PER_UNIT = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}


@dataclass(frozen=True)
class ClusterFacts:
    """What a cluster tells of itself.

    Attributes:
        info: `GET /`.
        nodes: `GET _nodes/plugins`, the nodes by their ids.
        settings: All settings, flat, defaults included.
        compiled: `GET _nodes/stats/script`, the nodes by their ids.
        script: Our stored script, `None` where there is none of its id.
        disks: `GET _cat/allocation`, sizes in bytes.
    """

    info: Fact
    nodes: Fact
    settings: Fact
    compiled: Fact
    script: Fact
    disks: Fact


def check_cluster(asked: DoctorTarget, cluster: ClusterFacts) -> list[Finding]:
    """All that is found in a cluster that answers."""
    settings = cluster.settings if isinstance(cluster.settings, dict) else {}
    return [
        *judge_fact("version", cluster.info, check_version),
        *judge_fact("k-NN", cluster.nodes, check_knn_plugin),
        *judge_fact("scripts", cluster.settings, lambda found: check_script_settings(asked, found)),
        *judge_fact("script", cluster.script, lambda found: check_stored_script(asked, found)),
        *judge_fact("compilations", cluster.compiled, lambda found: check_compilations(found, settings)),
        *judge_fact("disk", cluster.disks, lambda found: check_disks(found, settings)),
    ]


def check_version(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether this is an OpenSearch that ANTHEM knows."""
    try:
        release, number = parse_release(info), info["version"]["number"]
    except ClusterError as error:
        found, _, wanted = str(error).partition("; ")
        yield Finding("version", "fault", found, wanted)
    else:
        masked = "" if number.startswith(str(release)) else f" or newer, which calls itself {number}"
        yield Finding("version", "ok", f"OpenSearch {release}{masked}" if masked else f"OpenSearch {number}")


def check_knn_plugin(nodes: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether every node that holds data has the k-NN plugin."""
    holding = {key: node for key, node in nodes.items() if any("data" in role for role in node.get("roles", ["data"]))}
    without = [node for node in holding.values() if KNN_PLUGIN not in installed_plugins(node)]
    if without:
        listed, wanted = ", ".join(node["name"] for node in without), f"{KNN_PLUGIN} on every node that holds data"
        mends = (
            f"bin/opensearch-plugin install org.opensearch.plugin:{KNN_PLUGIN}:{without[0].get('version', 'VERSION')}.0"
        )
        yield Finding("k-NN", "fault", f"missing on {listed}", wanted, f"{mends}   # on each, then a restart")
    else:
        yield Finding("k-NN", "ok", f"on {count_of(len(holding), 'node')} of {len(holding)} that hold data")


def installed_plugins(node: Mapping[str, Any]) -> set[str]:
    """Names of the plugins of a node."""
    return {plugin["name"] for plugin in node.get("plugins", ())}


def missing_plugins(nodes: Fact, pipeline: str) -> list[str]:
    """Plugins that a pipeline needs and no node has; none where the cluster does not tell."""
    if not isinstance(nodes, dict):
        return []
    there = {plugin for node in nodes.values() for plugin in installed_plugins(node)}
    return [plugin for plugin in PIPELINE_PLUGINS[pipeline] if plugin not in there]


def check_script_settings(asked: DoctorTarget, settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the cluster runs stored scripts that score; where it does not, the client must rank."""
    wanted = {"script.allowed_types": "stored", "script.allowed_contexts": SCRIPT_CONTEXT}
    barred = [name for name, value in wanted.items() if not _setting_allows(settings.get(name), value)]
    if barred:
        found = "; ".join(f"{name}: {settings[name]}" for name in barred)
        mends = asked.command("search", "QUERY", "--rerank", "client")
        needed = f"{wanted[barred[0]]} among them (opensearch.yml, then a restart), or the client ranks"
        yield Finding("scripts", "warning", found, needed, mends)
    else:
        yield Finding("scripts", "ok", "stored scripts may score")


def _setting_allows(setting: object, wanted: str) -> bool:
    """Whether a list of what is allowed has a value; an empty one, the default, allows all."""
    allowed = setting if isinstance(setting, list) else str(setting or "").split(",")
    names = {str(name).strip().lower() for name in allowed} - {""}
    return not names or bool(names & {wanted, "both", "all"})


def check_stored_script(asked: DoctorTarget, stored: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Whether our script is stored under its id, and is ours to the letter."""
    name, ours = script_id(), build_put_script_body()["script"]
    stores = asked.command("search", "QUERY")
    if stored is None:
        needed = "stored before bodies of /rewrite are sent; the first search of a client stores it"
        yield Finding("script", "warning", f"{name} is not stored", needed, stores)
    elif stored.get("source") != ours["source"] or stored.get("lang") != ours["lang"]:
        mends = f"{console_request('DELETE', f'_scripts/{name}')}\n{stores}"
        yield Finding("script", "fault", f"{name} is not what this version stores", "its source unchanged", mends)
    else:
        yield Finding("script", "ok", f"{name} is stored and ours")


def check_compilations(nodes: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the limit of script compilations was met: then a search that compiles fails, a cached one does not."""
    stats = [node.get("script", {}) for node in nodes.values()]
    met, evicted = (sum(one.get(key, 0) for one in stats) for key in ("compilation_limit_triggered", "cache_evictions"))
    rate = settings.get(f"script.context.{SCRIPT_CONTEXT}.max_compilations_rate") or settings.get(
        "script.max_compilations_rate", "not known"
    )
    counted = f"limit met {met} times, {evicted} scripts evicted since the nodes started; rate: {rate}"
    if met:
        setting = {"persistent": {f"script.context.{SCRIPT_CONTEXT}.max_compilations_rate": "300/5m"}}
        needed = "never met: scripts that differ from search to search should take parameters, or the limit be wider"
        yield Finding("compilations", "warning", counted, needed, console_request("PUT", "_cluster/settings", setting))
    else:
        yield Finding("compilations", "ok", counted)


def check_disks(nodes: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """How near the disks are to the watermark from which indices take no writes."""
    known = [node for node in nodes if node.get("disk.percent") is not None]
    levels: dict[str, Level] = {"flood_stage": "fault", "high": "warning"}
    for name, level in levels.items():
        full = [node for node in known if _exceeds_watermark(settings.get(f"{_WATERMARK_SETTING}.{name}"), node)]
        if full:
            listed = ", ".join(f"{node['node']} ({node['disk.percent']} %)" for node in full)
            wanted = "room: beyond flood_stage indices take no writes, and so no vectors"
            yield Finding(
                "disk",
                level,
                f"beyond the watermark {name}: {listed}",
                wanted,
                console_request("GET", "_cat/allocation?v"),
            )
            return
    most = max((int(node["disk.percent"]) for node in known), default=0)
    yield Finding("disk", "ok", f"at most {most} % full")


def _exceeds_watermark(watermark: object, node: Mapping[str, Any]) -> bool:
    """Whether a node is beyond a watermark: a share of the disk in use, or bytes that are left."""
    found = re.fullmatch(r"([\d.]+)\s*(%|[kmgt]?b)?", str(watermark or "").lower())
    if not found:
        return False
    number, unit = float(found[1]), found[2]
    if unit in _BYTES_PER_UNIT:
        return int(node["disk.avail"]) < number * _BYTES_PER_UNIT[unit]
    return int(node["disk.percent"]) > (number if unit else number * 100)
