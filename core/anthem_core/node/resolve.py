"""For maintainers: works out the lock from Maven's own descriptions. Starting a node never resolves."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from anthem_core.node.fetch import maven_context
from anthem_core.node.layout import MODULES
from anthem_core.node.lock import KNN, KNN_FOLDER, OPENSEARCH, Artifact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ENGINE = "org.opensearch"
PLUGIN = "org.opensearch.plugin"
LIB = (
    f"{ENGINE}:opensearch:{OPENSEARCH}",
    f"{ENGINE}:opensearch-plugin-classloader:{OPENSEARCH}",
    f"{ENGINE}:opensearch-agent-bootstrap:{OPENSEARCH}",
    "org.apache.logging.log4j:log4j-core:2.25.3",
)
# The agent's manifest names the other two in Boot-Class-Path: they must lie side by side.
AGENT = (
    f"{ENGINE}:opensearch-agent:{OPENSEARCH}",
    f"{ENGINE}:opensearch-agent-bootstrap:{OPENSEARCH}",
    "net.bytebuddy:byte-buddy:1.17.7",
)


def closure(context: Any, coordinate: str) -> Iterator[Any]:  # noqa: ANN401 (jgo publishes no types)
    """An artifact and all it needs to run, without optional parts and without native libraries (classifiers)."""
    roots, needed = context.resolver.resolve([context.create_dependency(coordinate)])
    yield from (one.artifact for one in (*roots, *needed) if not one.artifact.classifier)


def placed(context: Any) -> Iterator[tuple[Any, str]]:  # noqa: ANN401
    """Every artifact of a node with the folder it goes into; a module only gets what `lib` lacks."""
    lib: dict[tuple[str, str], Any] = {}
    for coordinate in LIB:
        for one in closure(context, coordinate):
            lib.setdefault((one.groupId, one.artifactId), one)
    yield from ((one, "lib") for one in lib.values())
    yield from ((context.create_dependency(coordinate).artifact, "agent") for coordinate in AGENT)
    for module in MODULES:
        for name in module.artifacts:
            for one in closure(context, f"{PLUGIN}:{name}:{OPENSEARCH}"):
                if (one.groupId, one.artifactId) not in lib:
                    yield one, f"modules/{module.name}"
    yield context.project(PLUGIN, "opensearch-knn").at_version(KNN).artifact(packaging="zip"), KNN_FOLDER


def locked(pairs: Iterable[tuple[Any, str]]) -> Iterator[Artifact]:
    """Download each artifact once, hash it, and gather the folders it goes into."""
    folders: dict[Any, set[str]] = {}
    for one, into in pairs:
        folders.setdefault(one, set()).add(into)
    for one, names in folders.items():
        data = one.resolve().read_bytes()
        digest, into_all = hashlib.sha256(data).hexdigest(), tuple(sorted(names))
        yield Artifact(one.groupId, one.artifactId, one.version, one.packaging, digest, len(data), into_all)


def resolve_lock(cache: Path) -> tuple[Artifact, ...]:
    """Resolve the whole node afresh; `cache` is a Maven repository folder to download into."""
    return tuple(sorted(locked(placed(maven_context(cache)))))
