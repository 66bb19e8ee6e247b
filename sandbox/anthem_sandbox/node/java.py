"""Finds a Java that a release of OpenSearch runs on: a full JDK of the right age."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anthem_core.errors import NodeError
from anthem_sandbox.node.releases import DEFAULT_RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from anthem_sandbox.node.releases import JavaRequirement, NodeRelease

JAVA_HOME_PATTERNS = (
    "/usr/lib/jvm/*",
    "/opt/java/*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "/opt/homebrew/opt/openjdk*",
)


@dataclass(frozen=True)
class JavaInstallation:
    """A Java found: the command, its version, and what it lacks (nothing when it suits)."""

    command: Path
    version: int | None
    missing: frozenset[str] = frozenset()

    def suits(self, need: JavaRequirement) -> bool:
        """Whether a release with this need runs on it."""
        return self.version is not None and need.takes(self.version) and not self.missing

    def __str__(self) -> str:
        if self.version is None:
            return f"{self.command} (does not say its version)"
        lacks = f", a trimmed runtime without {', '.join(sorted(self.missing))}" if self.missing else ""
        return f"{self.command} (Java {self.version}{lacks})"


def list_java_commands(environ: Mapping[str, str]) -> Iterator[Path]:
    """`java` commands in the order of trust: the two variables, the search path, the usual places."""
    for variable in ("OPENSEARCH_JAVA_HOME", "JAVA_HOME"):
        if environ.get(variable):
            yield Path(environ[variable]) / "bin" / "java"
    if on_path := shutil.which("java", path=environ.get("PATH")):
        yield Path(on_path)
    for pattern in JAVA_HOME_PATTERNS:
        homes = sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
        yield from (home / "bin" / "java" for home in homes)


def parse_java_version(text: str) -> int | None:
    """Major version in what `java -version` prints, or None: `"1.8.0_402"` is 8, `"25.0.3"` is 25."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else None


def _run_java(command: Path, option: str) -> str:
    try:
        told = subprocess.run([command, option], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout + told.stderr


def inspect_java(command: Path, need: JavaRequirement = DEFAULT_RELEASE.java) -> JavaInstallation:
    """Ask a `java` command for its version and, where that is a wanted one, for its modules."""
    version = parse_java_version(_run_java(command, "-version"))
    if version is None or not need.takes(version):
        return JavaInstallation(command, version)
    there = {line.split("@")[0] for line in _run_java(command, "--list-modules").splitlines()}
    return JavaInstallation(command, version, need.modules - there)


def find_java(commands: Iterable[Path] | None = None, release: NodeRelease = DEFAULT_RELEASE) -> Path:
    """The first `java` command that a release of OpenSearch runs on.

    Raises:
        NodeError: There is none; the message names all that were found and what to install.
    """
    unsuited: dict[Path, JavaInstallation] = {}
    for command in list_java_commands(os.environ) if commands is None else commands:
        if command.resolve() in unsuited or not command.is_file():
            continue
        java = inspect_java(command, release.java)
        if java.suits(release.java):
            return command
        unsuited[command.resolve()] = java
    found = "; ".join(map(str, unsuited.values())) or "no Java at all"
    raise NodeError(
        f"OpenSearch {release.version} needs a full JDK, {release.java}; found: {found}. Install one (for example the "
        "package openjdk-21-jdk-headless or temurin-21-jdk), or set OPENSEARCH_JAVA_HOME to the folder of one"
    )
