"""Reads and writes lock files, which list every file of a local node by Maven coordinate and SHA-256."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files

from anthem_core.artifact_cache import Artifact
from anthem_sandbox.node.releases import DEFAULT_RELEASE

DEFAULT_VERSION = DEFAULT_RELEASE.version
KNN_FOLDER = "plugins/opensearch-knn"


def load_lock(version: str = DEFAULT_VERSION) -> tuple[Artifact, ...]:
    """Read the lock file of a release from this package."""
    rows = json.loads((files(__package__) / "locks" / f"{version}.json").read_text(encoding="utf-8"))["artifacts"]
    return tuple(Artifact(**{**row, "into": tuple(row["into"])}) for row in rows)


def format_lock(artifacts: tuple[Artifact, ...], version: str = DEFAULT_VERSION) -> str:
    """Text of a lock file, one artifact per line, so that a diff shows which artifacts changed."""
    rows = ",\n".join("    " + json.dumps(asdict(artifact)) for artifact in sorted(artifacts))
    return f'{{\n  "opensearch": "{version}",\n  "artifacts": [\n{rows}\n  ]\n}}\n'
