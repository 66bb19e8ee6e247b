"""The releases of OpenSearch that run as a local node, and in what one is laid out otherwise than another."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from anthem_core.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Trimmed runtimes leave some of these out: without jdk.localedata, for one, no index can be created.
REQUIRED_JAVA_MODULES = frozenset(
    {"java.instrument", "java.management", "jdk.incubator.vector", "jdk.localedata", "jdk.net"}
)


@dataclass(frozen=True)
class NodeModule:
    """A module of OpenSearch: its folder, its class, the artifacts it is made of, the module it extends."""

    name: str
    classname: str
    artifacts: tuple[str, ...]
    extends: str = ""


@dataclass(frozen=True)
class JavaRequirement:
    """The Java a release runs on: from one major version to another, both included, as a full JDK."""

    oldest: int
    newest: int | None = None
    modules: frozenset[str] = REQUIRED_JAVA_MODULES

    def takes(self, version: int) -> bool:
        """Whether the release runs on this major version."""
        return self.oldest <= version <= (self.newest or version)

    def __str__(self) -> str:
        return f"{self.oldest} or newer" if self.newest is None else f"{self.oldest} to {self.newest}"


@dataclass(frozen=True)
class NodeRelease:
    """One release as a local node.

    Attributes:
        version: Its number, such as `3.6.0`.
        java: The Java it runs on.
        descriptor_java: `java.version` of its modules' descriptors.
        log4j: Version of `log4j-core`, which the engine's description leaves out.
        modules: The modules that are published and wanted.
        agent: Coordinates of the java agent and what lies beside it; empty where the JVM's security manager guards.
        options: Options of the JVM that only this release needs.
        policies: Text of `plugin-security.policy` by module; the published jars carry none.
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
    def knn(self) -> str:
        """Version of the k-NN plugin that belongs to the release."""
        return f"{self.version}.0"

    @property
    def agent_jar(self) -> str | None:
        """File name of the java agent, or None where there is none."""
        return f"opensearch-agent-{self.version}.jar" if self.agent else None


def _build_modules(suffix: str, *more: NodeModule) -> tuple[NodeModule, ...]:
    """Modules of a release; from 3.0 on the names of their classes end in `ModulePlugin`, before in `Plugin`."""
    shared = (
        ("lang-painless", "painless.Painless", "lang-painless", ""),
        ("analysis-common", "analysis.common.CommonAnalysis", "analysis-common", "lang-painless"),
        ("transport-netty4", "transport.Netty4", "transport-netty4-client", ""),
        ("reindex", "index.reindex.Reindex", "reindex-client", ""),
        ("mapper-extras", "index.mapper.MapperExtras", "mapper-extras-client", ""),
        ("lang-mustache", "script.mustache.Mustache", "lang-mustache-client", ""),
    )
    return (
        *(NodeModule(name, f"org.opensearch.{kind}{suffix}", (jar,), extends) for name, kind, jar, extends in shared),
        *more,
    )


def _format_policy(*permissions: str) -> str:
    """Text of a policy that grants these permissions to a whole module."""
    return "grant {\n" + "".join(f"  permission {one};\n" for one in permissions) + "};\n"


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
    # The agent's manifest names the other two in Boot-Class-Path: they must lie side by side.
    agent=(
        "org.opensearch:opensearch-agent:3.6.0",
        "org.opensearch:opensearch-agent-bootstrap:3.6.0",
        "net.bytebuddy:byte-buddy:1.17.7",
    ),
    # Without this grant the agent keeps nodes from finding each other.
    policies=MappingProxyType({"transport-netty4": _format_policy(_SOCKET_PERMISSION)}),
)
OPENSEARCH_2 = NodeRelease(
    version="2.19.1",
    java=JavaRequirement(17, 23),  # Java 24 has no security manager any more, and 2.x does not start without
    descriptor_java="11",
    log4j="2.21.0",
    modules=_build_modules("Plugin"),
    # log4j's own management and shutdown hook ask for what the security manager denies.
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
            # Without the last two Netty's own threads cannot end, and a stop takes 30 s.
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
NODE_RELEASES = MappingProxyType({one.version: one for one in (OPENSEARCH_3, OPENSEARCH_2)})
DEFAULT_RELEASE = OPENSEARCH_3


def find_node_release(version: str | None = None) -> NodeRelease:
    """The release of a version, or the default one.

    Raises:
        NodeError: No local node of this version is known.
    """
    if version and version not in NODE_RELEASES:
        raise NodeError(
            f"there is no local node of OpenSearch {version}; there is one of {', '.join(NODE_RELEASES)}. "
            "Name one of these, or the URL of a cluster of your own"
        )
    return NODE_RELEASES[version] if version else DEFAULT_RELEASE
