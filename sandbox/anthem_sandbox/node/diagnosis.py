"""Diagnoses why a node died: reads its log, recognises known causes and says how to fix them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# (pattern in the log, cause and fix); the first match is reported.
KNOWN_CAUSES = (
    (
        r"opensearchknn_|org\.opensearch\.knn\.jni",
        (
            "a knn_vector field requires the Faiss engine, whose native library the local node does not have; "
            'set "engine": "lucene" in the mapping. If the existing data stops the node again, '
            "`anthem node start --fresh` starts with empty data"
        ),
    ),
    (
        r"BindException|Address already in use",
        "another process took the port; start the node again, or choose a port with --port",
    ),
    (r"No space left on device", "the disk is full; free some space and start the node again"),
    (
        r"OutOfMemoryError|insufficient memory|Could not reserve enough space|Cannot allocate memory",
        "there is not enough memory; close other programs, or choose another heap size with --heap",
    ),
    (
        r"(?:Invalid|Too small) (?:initial|maximum)? ?heap",
        "the heap size is invalid; use a size such as --heap 512m or --heap 1g",
    ),
    (r"UnsupportedClassVersionError", "this Java is too old; set OPENSEARCH_JAVA_HOME to a JDK 21"),
    (r"Thai segmentation", "this Java is a trimmed runtime; set OPENSEARCH_JAVA_HOME to a full JDK"),
    (r"failed to obtain node locks", "another process uses this home; stop it with `anthem node stop`"),
    (r"unknown setting|Failed to parse value", "this release of OpenSearch does not accept a setting of the node"),
    (
        r"indexCreatedVersionMajor is in the future|IndexFormatToo(?:New|Old)|cannot (?:down|up)grade a node",
        (
            "another release of OpenSearch wrote the data in this home; start that release, choose another home "
            "with --home, or start with empty data: `anthem node start --fresh`"
        ),
    ),
)


def diagnose_log(log: str) -> str | None:
    """The cause and the fix that a log points to, or None if it matches no known cause."""
    return next((text for pattern, text in KNOWN_CAUSES if re.search(pattern, log)), None)


def read_log(path: Path, max_bytes: int = 262_144) -> str:
    """The last `max_bytes` bytes of a log file as text; empty if the file does not exist."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - max_bytes))
        return file.read().decode("utf-8", "replace")


def last_lines(log: str, count: int = 12) -> str:
    """The last `count` lines of a log, without stack frames."""
    lines = [line[:240] for line in log.splitlines() if line.strip() and not re.match(r"\s+(at |\.\.\.)", line)]
    return "\n".join(f"  {line}" for line in lines[-count:])


def crash_report(log: str) -> str:
    """Describe a crash from the node's log: the cause if it is known, and the last lines of the log."""
    cause = diagnose_log(log) or "its log matches no known cause"
    return f"{cause}. The last lines of its log:\n{last_lines(log)}"
