"""Finds a Java installation that meets the requirement of an OpenSearch release: a full JDK of the right version."""

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
    """A `java` command, its major version (None if unknown) and the required modules that it lacks."""

    command: Path
    version: int | None
    missing_modules: frozenset[str] = frozenset()

    def meets(self, requirement: JavaRequirement) -> bool:
        """Whether a release with this requirement runs on this Java."""
        return self.version is not None and requirement.accepts(self.version) and not self.missing_modules

    def __str__(self) -> str:
        if self.version is None:
            return f"{self.command} (unknown version)"
        trimmed = f", a trimmed runtime without {', '.join(sorted(self.missing_modules))}"
        return f"{self.command} (Java {self.version}{trimmed if self.missing_modules else ''})"


def list_java_commands(environ: Mapping[str, str]) -> Iterator[Path]:
    """`java` commands in order of preference: the two environment variables, `PATH`, the usual folders."""
    for variable in ("OPENSEARCH_JAVA_HOME", "JAVA_HOME"):
        if environ.get(variable):
            yield Path(environ[variable]) / "bin" / "java"
    if on_path := shutil.which("java", path=environ.get("PATH")):
        yield Path(on_path)
    for pattern in JAVA_HOME_PATTERNS:
        homes = sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
        yield from (home / "bin" / "java" for home in homes)


def parse_java_version(text: str) -> int | None:
    """Major version in the output of `java -version`, or None: `"1.8.0_402"` gives 8, `"25.0.3"` gives 25."""
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match.group(1)) if match else None


def _run_java(command: Path, option: str) -> str:
    """Output of a `java` command, standard error included; empty if it cannot be run."""
    try:
        process = subprocess.run([command, option], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout + process.stderr


def inspect_java(command: Path, requirement: JavaRequirement = DEFAULT_RELEASE.java) -> JavaInstallation:
    """Read the version of a `java` command and, if it is acceptable, which required modules are known to be missing."""
    version = parse_java_version(_run_java(command, "-version"))
    if version is None or not requirement.accepts(version):
        return JavaInstallation(command, version)
    modules = {line.split("@")[0] for line in _run_java(command, "--list-modules").splitlines()}
    # A Java that lists nothing was too slow to answer; OpenSearch itself says what it lacks.
    return JavaInstallation(command, version, requirement.modules - modules if modules else frozenset())


def find_java(commands: Iterable[Path] | None = None, release: NodeRelease = DEFAULT_RELEASE) -> Path:
    """The first `java` command on which a release of OpenSearch runs.

    Raises:
        NodeError: No command is suitable; the message lists those found and says what to install.
    """
    rejected: dict[Path, JavaInstallation] = {}
    for command in list_java_commands(os.environ) if commands is None else commands:
        if command.resolve() in rejected or not command.is_file():
            continue
        java = inspect_java(command, release.java)
        if java.meets(release.java):
            return command
        rejected[command.resolve()] = java
    candidates = "; ".join(map(str, rejected.values())) or "no Java"
    raise NodeError(
        f"OpenSearch {release.version} needs a full JDK, {release.java}; found: {candidates}. Install one (for example "
        "the package openjdk-21-jdk-headless or temurin-21-jdk), or set OPENSEARCH_JAVA_HOME to its folder."
    )
