"""For maintainers: creates the lock of a release by resolving its artifacts with Maven. Starting a node never does."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from anthem_core.artifact_cache import Artifact, create_maven_context
from anthem_sandbox.node.lock import KNN_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from anthem_sandbox.node.releases import NodeRelease

ENGINE_GROUP = "org.opensearch"
PLUGIN_GROUP = "org.opensearch.plugin"


def classpath_coordinates(release: NodeRelease) -> tuple[str, ...]:
    """Coordinates that, with their dependencies, form the class path of a release."""
    agent_bootstrap = tuple(coordinate for coordinate in release.agent if ":opensearch-agent-bootstrap:" in coordinate)
    return (
        f"{ENGINE_GROUP}:opensearch:{release.version}",
        f"{ENGINE_GROUP}:opensearch-plugin-classloader:{release.version}",
        *agent_bootstrap,
        f"org.apache.logging.log4j:log4j-core:{release.log4j}",
    )


def runtime_closure(context: Any, coordinate: str) -> Iterator[Any]:  # noqa: ANN401 (jgo publishes no types)
    """An artifact and its runtime dependencies, without optional ones and native libraries (classifiers)."""
    roots, dependencies = context.resolver.resolve([context.create_dependency(coordinate)])
    for dependency in (*roots, *dependencies):
        if not dependency.artifact.classifier:
            yield dependency.artifact


def list_artifacts(context: Any, release: NodeRelease) -> Iterator[tuple[Any, str]]:  # noqa: ANN401
    """Pairs of an artifact and its folder in the home; a module only gets artifacts that `lib` lacks."""
    lib: dict[tuple[str, str], Any] = {}
    for coordinate in classpath_coordinates(release):
        for artifact in runtime_closure(context, coordinate):
            lib.setdefault((artifact.groupId, artifact.artifactId), artifact)
    yield from ((artifact, "lib") for artifact in lib.values())
    yield from ((context.create_dependency(coordinate).artifact, "agent") for coordinate in release.agent)
    for module in release.modules:
        for name in module.artifacts:
            for artifact in runtime_closure(context, f"{PLUGIN_GROUP}:{name}:{release.version}"):
                if (artifact.groupId, artifact.artifactId) not in lib:
                    yield artifact, f"modules/{module.name}"
    knn = context.project(PLUGIN_GROUP, "opensearch-knn").at_version(release.knn_version)
    yield knn.artifact(packaging="zip"), KNN_FOLDER


def lock_artifacts(placements: Iterable[tuple[Any, str]]) -> Iterator[Artifact]:
    """Download each artifact once, hash it, and collect the folders that receive it."""
    folders: dict[Any, set[str]] = {}
    for artifact, folder in placements:
        folders.setdefault(artifact, set()).add(folder)
    for artifact, names in folders.items():
        content = artifact.resolve().read_bytes()
        yield Artifact(
            group=artifact.groupId,
            artifact=artifact.artifactId,
            version=artifact.version,
            packaging=artifact.packaging,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            into=tuple(sorted(names)),
        )


def resolve_lock(cache: Path, release: NodeRelease) -> tuple[Artifact, ...]:
    """Resolve all artifacts of a release with Maven; `cache` is the Maven repository folder to download into.

    Raises:
        ExtraError: The extra `demo` is not installed.
    """
    return tuple(sorted(lock_artifacts(list_artifacts(create_maven_context(cache), release))))
