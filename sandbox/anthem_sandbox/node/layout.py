"""What a node's home holds: builders for every text file in it and for the command line, and one that lays it out."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING
from zipfile import ZipFile

from anthem_sandbox.node.releases import DEFAULT_RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from anthem_sandbox.node.lock import Artifact
    from anthem_sandbox.node.releases import NodeModule, NodeRelease

PROGRAM_FOLDERS = ("agent", "bin", "lib", "modules", "plugins")
WRITABLE_FOLDERS = ("config", "data", "logs", "tmp")


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
    lines = {
        "description": module.name,
        "version": release.version,
        "name": module.name,
        "classname": module.classname,
        "java.version": release.descriptor_java,
        "opensearch.version": release.version,
        "extended.plugins": module.extends,
        "has.native.controller": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def build_node_settings(http_port: int, transport_port: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Settings of a node alone on the loopback address; `extra` is added and overrides.

    The water marks are absolute: a laptop whose disk is 91 % full still has room for a local node.
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
    """Text of `opensearch.yml`; every value is quoted, so none can be anything but a string."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


def build_java_command(java: Path, home: Path, heap: str, release: NodeRelease = DEFAULT_RELEASE) -> list[str]:
    """The command line that starts the node laid out in `home`."""
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
        f"-Djava.io.tmpdir={home / WRITABLE_FOLDERS[-1]}",
        home_argument(home),
        f"-Dopensearch.path.conf={home}/config",
        "-cp",
        f"{home}/lib/*",
        "org.opensearch.bootstrap.OpenSearch",
    ]


def home_argument(home: Path) -> str:
    """The argument by which the process of this home is told from any other program."""
    return f"-Dopensearch.path.home={home}"


def _link_or_copy(source: Path, target: Path) -> None:
    """Link a file where the disk allows it, copy it where not."""
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
    """Lay the program out afresh in `home`; data and logs stay as they are.

    Args:
        home: Home of the node, a folder that exists.
        artifacts: What the node is made of.
        cache: The folder that holds every artifact.
        settings: The node's settings, all of them.
        release: The release that the artifacts are.
    """
    for name in PROGRAM_FOLDERS:
        shutil.rmtree(home / name, ignore_errors=True)
    # OpenSearch makes `bin` where it is missing, and may not when its home is not its own.
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
    """Write the descriptors, the policies and the configuration; make the program readable for all."""
    for module in release.modules:
        (home / "modules" / module.name / "plugin-descriptor.properties").write_text(plugin_descriptor(module, release))
    for name, text in release.policies.items():
        (home / "modules" / name / "plugin-security.policy").write_text(text)
    (home / "config" / "opensearch.yml").write_text(format_opensearch_yml(settings))
    (home / "config" / "log4j2.properties").write_text(LOG4J_PROPERTIES)
    for name in PROGRAM_FOLDERS:
        for path in (home / name, *(home / name).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
