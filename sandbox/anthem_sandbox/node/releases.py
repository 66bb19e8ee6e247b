"""The OpenSearch releases that can run as a local node, and how their layouts differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from anthem_core.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Trimmed runtimes lack some of these. Without jdk.localedata, for example, no index can be created.
REQUIRED_JAVA_MODULES = frozenset(
    {"java.instrument", "java.management", "jdk.incubator.vector", "jdk.localedata", "jdk.net"}
)


@dataclass(frozen=True)
class NodeModule:
    """A module of OpenSearch: its folder, its class, its artifacts and the module that it extends."""

    name: str
    classname: str
    artifacts: tuple[str, ...]
    extends: str = ""


@dataclass(frozen=True)
class JavaRequirement:
    """The Java that a release needs: the oldest and the newest major version, both included, and its modules."""

    oldest: int
    newest: int | None = None
    modules: frozenset[str] = REQUIRED_JAVA_MODULES

    def accepts(self, version: int) -> bool:
        """Whether the release runs on this major version."""
        return self.oldest <= version <= (self.newest or version)

    def __str__(self) -> str:
        return f"{self.oldest} or newer" if self.newest is None else f"{self.oldest} to {self.newest}"


@dataclass(frozen=True)
class NodeRelease:
    """One release as a local node.

    Attributes:
        version: Version number, such as `3.6.0`.
        java: The Java that it needs.
        descriptor_java: `java.version` in the descriptors of its modules.
        log4j: Version of `log4j-core`, which the Maven description of the engine omits.
        modules: The published modules that the node loads.
        agent: Coordinates of the Java agent and its companions; empty for releases that use the JVM's security manager.
        options: JVM options that only this release needs.
        policies: Text of `plugin-security.policy` per module; the published jars do not contain them.
    """

    version: str
    java: JavaRequirement
    descriptor_java: str
    log4j: str
    modules: tuple[NodeModule, ...]
    agent: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    policies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def knn_version(self) -> str:
        """Version of the k-NN plugin for this release."""
        return f"{self.version}.0"

    @property
    def agent_jar(self) -> str | None:
        """File name of the Java agent, or None if the release has no agent."""
        return f"opensearch-agent-{self.version}.jar" if self.agent else None


def _build_modules(class_suffix: str, *additional: NodeModule) -> tuple[NodeModule, ...]:
    """Modules of a release. Since 3.0 their class names end in `ModulePlugin`, before that in `Plugin`."""
    shared = (
        ("lang-painless", "painless.Painless", "lang-painless", ""),
        ("analysis-common", "analysis.common.CommonAnalysis", "analysis-common", "lang-painless"),
        ("transport-netty4", "transport.Netty4", "transport-netty4-client", ""),
        ("reindex", "index.reindex.Reindex", "reindex-client", ""),
        ("mapper-extras", "index.mapper.MapperExtras", "mapper-extras-client", ""),
        ("lang-mustache", "script.mustache.Mustache", "lang-mustache-client", ""),
    )
    return (
        *(
            NodeModule(name, f"org.opensearch.{class_stem}{class_suffix}", (artifact,), extends)
            for name, class_stem, artifact, extends in shared
        ),
        *additional,
    )


def _format_policy(*permissions: str) -> str:
    """Text of a policy that grants these permissions to a whole module."""
    return "grant {\n" + "".join(f"  permission {permission};\n" for permission in permissions) + "};\n"


_SOCKET_PERMISSION = 'java.net.SocketPermission "*", "accept,connect,listen,resolve"'
_CLASS_LOADER_PERMISSION = 'java.lang.RuntimePermission "getClassLoader"'
_REFLECTION_PERMISSIONS = (
    'java.lang.RuntimePermission "accessDeclaredMembers"',
    'java.lang.reflect.ReflectPermission "suppressAccessChecks"',
)

OPENSEARCH_3 = NodeRelease(
    version="3.6.0",
    java=JavaRequirement(21),
    descriptor_java="21",
    log4j="2.25.3",
    modules=_build_modules(
        "ModulePlugin",
        NodeModule(
            "transport-grpc", "org.opensearch.transport.grpc.GrpcPlugin", ("transport-grpc", "transport-grpc-spi")
        ),
    ),
    # The agent's manifest names the other two in Boot-Class-Path, so all three must be in the same folder.
    agent=(
        "org.opensearch:opensearch-agent:3.6.0",
        "org.opensearch:opensearch-agent-bootstrap:3.6.0",
        "net.bytebuddy:byte-buddy:1.17.7",
    ),
    # Without this grant the agent blocks the connections between nodes.
    policies=MappingProxyType({"transport-netty4": _format_policy(_SOCKET_PERMISSION)}),
)
OPENSEARCH_2 = NodeRelease(
    version="2.19.1",
    java=JavaRequirement(17, 23),  # Java 24 removed the security manager, and 2.x does not start without it
    descriptor_java="11",
    log4j="2.21.0",
    modules=_build_modules("Plugin"),
    # The security manager denies what log4j's JMX support and shutdown hook need.
    options=("-Djava.security.manager=allow", "-Dlog4j2.disable.jmx=true", "-Dlog4j.shutdownHookEnabled=false"),
    policies=MappingProxyType(
        {
            "analysis-common": _format_policy(_CLASS_LOADER_PERMISSION),
            "lang-painless": _format_policy(
                _CLASS_LOADER_PERMISSION,
                'java.lang.RuntimePermission "createClassLoader"',
                'org.opensearch.script.ClassPermission "<<STANDARD>>"',
            ),
            "lang-mustache": _format_policy(*_REFLECTION_PERMISSIONS),
            # Without the last two, Netty's threads cannot end, and stopping the node takes 30 s.
            "transport-netty4": _format_policy(
                _SOCKET_PERMISSION,
                *_REFLECTION_PERMISSIONS,
                _CLASS_LOADER_PERMISSION,
                'java.lang.RuntimePermission "setContextClassLoader"',
            ),
            "reindex": _format_policy(_SOCKET_PERMISSION),
        }
    ),
)
NODE_RELEASES = MappingProxyType({release.version: release for release in (OPENSEARCH_3, OPENSEARCH_2)})
DEFAULT_RELEASE = OPENSEARCH_3


def find_node_release(version: str | None = None) -> NodeRelease:
    """The release with this version; the default release for None or an empty string.

    Raises:
        NodeError: This version is not available as a local node.
    """
    if version and version not in NODE_RELEASES:
        raise NodeError(
            f"OpenSearch {version} is not available as a local node; expected one of {', '.join(NODE_RELEASES)}. "
            "Choose one of these, or use the URL of a cluster that runs it."
        )
    return NODE_RELEASES[version] if version else DEFAULT_RELEASE
