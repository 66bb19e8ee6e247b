"""Lays out the home folder of a node: program files, configuration and the command line that starts it."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING
from zipfile import ZipFile

from anthem_core.opensearch.local_node import home_argument
from anthem_sandbox.node.releases import DEFAULT_RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from anthem_core.artifact_cache import Artifact
    from anthem_sandbox.node.releases import NodeModule, NodeRelease

PROGRAM_FOLDERS = ("agent", "bin", "lib", "modules", "plugins")
TEMPORARY_FOLDER = "tmp"
WRITABLE_FOLDERS = ("config", "data", "logs", TEMPORARY_FOLDER)

LOG4J_PROPERTIES = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.node.name = org.opensearch.node
logger.node.level = info
"""


def plugin_descriptor(module: NodeModule, release: NodeRelease = DEFAULT_RELEASE) -> str:
    """Text of a module's `plugin-descriptor.properties`."""
    properties = {
        "description": module.name,
        "version": release.version,
        "name": module.name,
        "classname": module.classname,
        "java.version": release.descriptor_java,
        "opensearch.version": release.version,
        "extended.plugins": module.extends,
        "has.native.controller": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def build_node_settings(http_port: int, transport_port: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Settings of a single node on the loopback address; `extra` is added and takes precedence.

    The disk watermarks are absolute because a disk that is 91 % full still has room for a local node.
    """
    return {
        "cluster.name": "anthem-local",
        "node.name": "anthem-local",
        "discovery.type": "single-node",
        "network.host": "127.0.0.1",
        "http.port": str(http_port),
        "transport.port": str(transport_port),
        "cluster.routing.allocation.disk.watermark.low": "1gb",
        "cluster.routing.allocation.disk.watermark.high": "500mb",
        "cluster.routing.allocation.disk.watermark.flood_stage": "250mb",
        **(extra or {}),
    }


def format_opensearch_yml(settings: Mapping[str, str]) -> str:
    """Text of `opensearch.yml`. Every value is quoted, so YAML always reads a string."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


def build_java_command(java: Path, home: Path, heap: str, release: NodeRelease = DEFAULT_RELEASE) -> list[str]:
    """The command line that starts the node in `home`."""
    agent = [f"-javaagent:{home}/agent/{release.agent_jar}"] if release.agent_jar else []
    return [
        str(java),
        f"-Xms{heap}",
        f"-Xmx{heap}",
        "-XX:-UsePerfData",
        f"-XX:ErrorFile={home}/logs/jvm-crash.log",
        "--enable-native-access=ALL-UNNAMED",
        "--add-modules=jdk.net,jdk.incubator.vector",
        *agent,
        *release.options,
        f"-Djava.io.tmpdir={home / TEMPORARY_FOLDER}",
        home_argument(home),
        f"-Dopensearch.path.conf={home}/config",
        "-cp",
        f"{home}/lib/*",
        "org.opensearch.bootstrap.OpenSearch",
    ]


def _link_or_copy(source: Path, target: Path) -> None:
    """Create a hard link, or a copy where the file system does not allow the link."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def lay_out_home(
    home: Path,
    artifacts: Iterable[Artifact],
    cache: Path,
    settings: Mapping[str, str],
    release: NodeRelease = DEFAULT_RELEASE,
) -> None:
    """Replace the program files and the configuration in `home`; data and logs are kept.

    Args:
        home: Home of the node, an existing folder.
        artifacts: The files of the node.
        cache: The folder that holds every artifact.
        settings: All settings of the node.
        release: The release that the artifacts belong to.
    """
    for name in PROGRAM_FOLDERS:
        shutil.rmtree(home / name, ignore_errors=True)
    # OpenSearch creates a missing `bin` folder, but lacks the permission if another user owns its home.
    for name in (*PROGRAM_FOLDERS, *WRITABLE_FOLDERS):
        (home / name).mkdir(exist_ok=True)
    for artifact in artifacts:
        for name in artifact.into:
            folder = home / name
            folder.mkdir(parents=True, exist_ok=True)
            if artifact.packaging == "zip":
                ZipFile(cache / artifact.filename).extractall(folder)
            else:
                _link_or_copy(cache / artifact.filename, folder / artifact.filename)
    write_configuration(home, settings, release)


def write_configuration(home: Path, settings: Mapping[str, str], release: NodeRelease = DEFAULT_RELEASE) -> None:
    """Write the descriptors, policies and settings, and make the program files readable for every user."""
    for module in release.modules:
        (home / "modules" / module.name / "plugin-descriptor.properties").write_text(plugin_descriptor(module, release))
    for name, policy in release.policies.items():
        (home / "modules" / name / "plugin-security.policy").write_text(policy)
    (home / "config" / "opensearch.yml").write_text(format_opensearch_yml(settings))
    (home / "config" / "log4j2.properties").write_text(LOG4J_PROPERTIES)
    for name in PROGRAM_FOLDERS:
        for path in (home / name, *(home / name).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
