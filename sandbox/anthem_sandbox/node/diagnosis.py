"""Why a node died, read from its log, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KNOWN_CAUSES = (
    (
        r"opensearchknn_|org\.opensearch\.knn\.jni",
        (
            "a knn_vector field asked for the Faiss engine, whose native library the local node does not have; "
            'name "engine": "lucene" in the mapping. If what it left stops the node again, '
            "`anthem node start --fresh` begins with empty data"
        ),
    ),
    (r"BindException|Address already in use", "a port was taken meanwhile; start again, or name one with --port"),
    (r"No space left on device", "the disk is full; free some space and start again"),
    (
        r"OutOfMemoryError|insufficient memory|Could not reserve enough space|Cannot allocate memory",
        "there is not enough memory; close something, or choose another heap with --heap",
    ),
    (r"(?:Invalid|Too small) (?:initial|maximum)? ?heap", "the heap is no size Java takes; write --heap 512m or 1g"),
    (r"UnsupportedClassVersionError", "this Java is too old; set OPENSEARCH_JAVA_HOME to a JDK of 21"),
    (r"Thai segmentation", "this Java is a trimmed runtime; set OPENSEARCH_JAVA_HOME to a full JDK"),
    (r"failed to obtain node locks", "another process uses this home; `anthem node stop` ends it"),
    (r"unknown setting|Failed to parse value", "a setting of the node is not one of this release of OpenSearch"),
    (
        r"indexCreatedVersionMajor is in the future|IndexFormatToo(?:New|Old)|cannot (?:down|up)grade a node",
        (
            "the data in this home were written by another release of OpenSearch; "
            "start that one, name another home with --home, or begin with empty data: `anthem node start --fresh`"
        ),
    ),
)


def diagnose_log(log: str) -> str | None:
    """The cause and the cure that a log points to, or None where it names nothing known."""
    return next((text for pattern, text in KNOWN_CAUSES if re.search(pattern, log)), None)


def read_log(path: Path, limit: int = 262_144) -> str:
    """The end of a log, at most `limit` bytes, or nothing where there is no log."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit))
        return file.read().decode("utf-8", "replace")


def last_lines(log: str, count: int = 12) -> str:
    """The last lines of a log, without the deeper part of stack traces."""
    lines = [line[:240] for line in log.splitlines() if line.strip() and not re.match(r"\s+(at |\.\.\.)", line)]
    return "\n".join(f"  {line}" for line in lines[-count:])


def crash_report(log: str) -> str:
    """What to say of a node that died with this log: the cause if it is known, and the log's last lines."""
    known = diagnose_log(log)
    return f"{known or 'its log names no known cause'}. The last lines of its log:\n{last_lines(log)}"
