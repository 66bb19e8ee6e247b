"""Runs the parts of `make proof` in turn, each even if an earlier one failed, and prints one table at the end.

Each part is a run of pytest of its own; its figures are printed where it runs.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
INTERRUPTED = 130


@dataclass(frozen=True)
class ProofPart:
    """A run of pytest: its name in the table, its arguments, and variables that only it gets."""

    name: str
    arguments: list[str]
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ProofResult:
    """Numbers of the tests of a part that passed, failed (errors included) and were skipped, and its time."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


PROOF_PARTS = [
    ProofPart("three nodes", ["--proof", "tests/test_three_nodes.py"]),
    ProofPart("load", ["--proof", "tests/test_load.py"]),
    ProofPart("kills", ["--proof", "tests/test_kills.py"]),
    ProofPart("fuzzing", ["--proof", *sorted(str(path) for path in (ROOT / "tests").glob("test_fuzz*.py"))]),
    ProofPart("containers", ["--proof", "tests/containers"]),
    ProofPart(
        "node tests on 2.19.1",
        ["--numprocesses", "2", "--dist", "loadfile", "-m", "node"],
        {"ANTHEM_TEST_RELEASE": "2.19.1", "ANTHEM_ACCEPT_OUTAGES": "1"},
    ),
]


def run_part(part, folder):
    """Run a part in a folder. A run that ends without a report, or without a test, counts as one failure."""
    with TemporaryDirectory() as temporary:
        report, started = Path(temporary) / "report.xml", time.monotonic()
        words = [sys.executable, "-m", "pytest", f"--junit-xml={report}", *part.arguments]
        code = subprocess.run(words, cwd=folder, env=os.environ | part.variables, check=False).returncode
        passed, failed, skipped = count_tests(report)
        return ProofResult(part.name, passed, max(failed, int(code != 0)), skipped, time.monotonic() - started)


def count_tests(report):
    """Numbers of passed, failed and skipped tests in pytest's report; zeros if it ended before writing one."""
    if not report.is_file():
        return 0, 0, 0
    suites = ET.parse(report).getroot().findall("testsuite")
    total, failures, errors, skipped = (
        sum(int(suite.get(name)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    return total - failures - errors - skipped, failures + errors, skipped


def format_table(results):
    """The results as a table with a last line of sums."""
    sums = [sum(getattr(result, name) for result in results) for name in ("passed", "failed", "skipped", "seconds")]
    rows = [*results, ProofResult("all", *sums)]
    width = max(len(row.name) for row in rows)
    lines = [f"{'part':{width}}  {'passed':>7}  {'failed':>7}  {'skipped':>7}  {'seconds':>7}"]
    lines += [
        f"{row.name:{width}}  {row.passed:7,}  {row.failed:7,}  {row.skipped:7,}  {row.seconds:7,.0f}" for row in rows
    ]
    return "\n".join(lines)


def write(text):
    """Print a text at once, so that it stands before what the next part prints."""
    print(text, flush=True)  # noqa: T201 (a script)


def run_proof(parts, folder=ROOT):
    """Run all parts and print the table, also after Ctrl-C; returns the exit code, 1 if a part failed."""
    results, code = [], 0
    try:
        for part in parts:
            write(f"\n=== {part.name}")
            results.append(run_part(part, folder))
    except KeyboardInterrupt:
        code = INTERRUPTED
    write("\n" + format_table(results))
    return code or int(any(result.failed for result in results))


if __name__ == "__main__":
    sys.exit(run_proof(PROOF_PARTS))
