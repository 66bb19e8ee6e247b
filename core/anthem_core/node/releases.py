"""The releases of OpenSearch that run as a local node, and in what one is laid out otherwise than another."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from anthem_core.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Trimmed runtimes leave some of these out: without jdk.localedata, for one, no index can be created.
JAVA_MODULES = frozenset({"java.instrument", "java.management", "jdk.incubator.vector", "jdk.localedata", "jdk.net"})


@dataclass(frozen=True)
class Module:
    """A module of OpenSearch: its folder, its class, the artifacts it is made of, the module it extends."""

    name: str
    classname: str
    artifacts: tuple[str, ...]
    extends: str = ""


@dataclass(frozen=True)
class JavaNeed:
    """The Java a release runs on: from one major version to another, both included, as a full JDK."""

    oldest: int
    newest: int | None = None
    modules: frozenset[str] = JAVA_MODULES

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
    java: JavaNeed
    descriptor_java: str
    log4j: str
    modules: tuple[Module, ...]
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


def _modules(suffix: str, *more: Module) -> tuple[Module, ...]:
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
        *(Module(name, f"org.opensearch.{kind}{suffix}", (jar,), extends) for name, kind, jar, extends in shared),
        *more,
    )


def _policy(*permissions: str) -> str:
    """Text of a policy that grants these permissions to a whole module."""
    return "grant {\n" + "".join(f"  permission {one};\n" for one in permissions) + "};\n"


_SOCKETS = 'java.net.SocketPermission "*", "accept,connect,listen,resolve"'
_LOADER = 'java.lang.RuntimePermission "getClassLoader"'
_REFLECTION = (
    'java.lang.RuntimePermission "accessDeclaredMembers"',
    'java.lang.reflect.ReflectPermission "suppressAccessChecks"',
)

OPENSEARCH_3 = NodeRelease(
    version="3.6.0",
    java=JavaNeed(21),
    descriptor_java="21",
    log4j="2.25.3",
    modules=_modules(
        "ModulePlugin",
        Module("transport-grpc", "org.opensearch.transport.grpc.GrpcPlugin", ("transport-grpc", "transport-grpc-spi")),
    ),
    # The agent's manifest names the other two in Boot-Class-Path: they must lie side by side.
    agent=(
        "org.opensearch:opensearch-agent:3.6.0",
        "org.opensearch:opensearch-agent-bootstrap:3.6.0",
        "net.bytebuddy:byte-buddy:1.17.7",
    ),
    # Without this grant the agent keeps nodes from finding each other.
    policies=MappingProxyType({"transport-netty4": _policy(_SOCKETS)}),
)
OPENSEARCH_2 = NodeRelease(
    version="2.19.1",
    java=JavaNeed(17, 23),  # Java 24 has no security manager any more, and 2.x does not start without
    descriptor_java="11",
    log4j="2.21.0",
    modules=_modules("Plugin"),
    # log4j's own management and shutdown hook ask for what the security manager denies.
    options=("-Djava.security.manager=allow", "-Dlog4j2.disable.jmx=true", "-Dlog4j.shutdownHookEnabled=false"),
    policies=MappingProxyType(
        {
            "analysis-common": _policy(_LOADER),
            "lang-painless": _policy(
                _LOADER,
                'java.lang.RuntimePermission "createClassLoader"',
                'org.opensearch.script.ClassPermission "<<STANDARD>>"',
            ),
            "lang-mustache": _policy(*_REFLECTION),
            # Without the last two Netty's own threads cannot end, and a stop takes 30 s.
            "transport-netty4": _policy(
                _SOCKETS, *_REFLECTION, _LOADER, 'java.lang.RuntimePermission "setContextClassLoader"'
            ),
            "reindex": _policy(_SOCKETS),
        }
    ),
)
RELEASES = MappingProxyType({one.version: one for one in (OPENSEARCH_3, OPENSEARCH_2)})
DEFAULT = OPENSEARCH_3


def node_release(version: str | None = None) -> NodeRelease:
    """The release of a version, or the default one.

    Raises:
        NodeError: No local node of this version is known.
    """
    if version and version not in RELEASES:
        raise NodeError(
            f"there is no local node of OpenSearch {version}; there is one of {', '.join(RELEASES)}. "
            "Name one of these, or the URL of a cluster of your own"
        )
    return RELEASES[version] if version else DEFAULT
