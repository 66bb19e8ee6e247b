"""For maintainers: works out the lock from Maven's own descriptions. Starting a node never resolves."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from anthem_sandbox.node.artifact_cache import create_maven_context
from anthem_sandbox.node.lock import KNN_FOLDER, Artifact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from anthem_sandbox.node.releases import NodeRelease

ENGINE_GROUP = "org.opensearch"
PLUGIN_GROUP = "org.opensearch.plugin"


def classpath_coordinates(release: NodeRelease) -> tuple[str, ...]:
    """Coordinates whose closure is the class path of a release."""
    guards = tuple(one for one in release.agent if ":opensearch-agent-bootstrap:" in one)
    return (
        f"{ENGINE_GROUP}:opensearch:{release.version}",
        f"{ENGINE_GROUP}:opensearch-plugin-classloader:{release.version}",
        *guards,
        f"org.apache.logging.log4j:log4j-core:{release.log4j}",
    )


def runtime_closure(context: Any, coordinate: str) -> Iterator[Any]:  # noqa: ANN401 (jgo publishes no types)
    """An artifact and all it needs to run, without optional parts and without native libraries (classifiers)."""
    roots, needed = context.resolver.resolve([context.create_dependency(coordinate)])
    yield from (one.artifact for one in (*roots, *needed) if not one.artifact.classifier)


def list_artifacts(context: Any, release: NodeRelease) -> Iterator[tuple[Any, str]]:  # noqa: ANN401
    """Every artifact of a node with the folder it goes into; a module only gets what `lib` lacks."""
    lib: dict[tuple[str, str], Any] = {}
    for coordinate in classpath_coordinates(release):
        for one in runtime_closure(context, coordinate):
            lib.setdefault((one.groupId, one.artifactId), one)
    yield from ((one, "lib") for one in lib.values())
    yield from ((context.create_dependency(coordinate).artifact, "agent") for coordinate in release.agent)
    for module in release.modules:
        for name in module.artifacts:
            for one in runtime_closure(context, f"{PLUGIN_GROUP}:{name}:{release.version}"):
                if (one.groupId, one.artifactId) not in lib:
                    yield one, f"modules/{module.name}"
    yield context.project(PLUGIN_GROUP, "opensearch-knn").at_version(release.knn).artifact(packaging="zip"), KNN_FOLDER


def lock_artifacts(pairs: Iterable[tuple[Any, str]]) -> Iterator[Artifact]:
    """Download each artifact once, hash it, and gather the folders it goes into."""
    folders: dict[Any, set[str]] = {}
    for one, into in pairs:
        folders.setdefault(one, set()).add(into)
    for one, names in folders.items():
        data = one.resolve().read_bytes()
        digest, into_all = hashlib.sha256(data).hexdigest(), tuple(sorted(names))
        yield Artifact(one.groupId, one.artifactId, one.version, one.packaging, digest, len(data), into_all)


def resolve_lock(cache: Path, release: NodeRelease) -> tuple[Artifact, ...]:
    """Resolve the whole node of a release afresh; `cache` is a Maven repository folder to download into."""
    return tuple(sorted(lock_artifacts(list_artifacts(create_maven_context(cache), release))))
