"""`make proof`: every part runs, and the table at the end tells what became of each."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from proof import PROOF_PARTS, ROOT, ProofPart, run_proof

WITHOUT_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # which take seconds to load
PARTS_OF_TESTS = {
    "good": "def test_one(): pass\ndef test_two(): pass",
    "bad": "def test_good(): pass\ndef test_bad(): assert False",
    "setup": "import pytest\n@pytest.fixture\ndef broken(): raise OSError\ndef test_broken(broken): pass",
    "skipped": "import pytest\ndef test_good(): pass\ndef test_skipped(): pytest.skip('no engine')",
    "unreadable": "import nothing_of_this_name",
    "empty": "",
    "killed": "import os\ndef test_good(): pass\ndef test_end(): os.kill(os.getpid(), 9)",
}
EXPECTED_COUNTS = {
    "good": (2, 0, 0), "bad": (1, 1, 0), "setup": (0, 1, 0), "skipped": (1, 0, 1), "unreadable": (0, 1, 0),
    "empty": (0, 1, 0), "killed": (0, 1, 0),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Folder with one test file per kind of part, apart from the settings and fixtures of this suite."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name, code in PARTS_OF_TESTS.items():
        (tmp_path / f"test_{name}.py").write_text(code)
    return tmp_path


def parts(*names):
    """The parts of these kinds."""
    return [ProofPart(name, ["-q", "-p", "no:cacheprovider", f"test_{name}.py"], WITHOUT_PLUGINS) for name in names]


def read_table(output):
    """Numbers of passed, failed and skipped tests by part, in the order of the table."""
    lines = output[output.rindex("\npart ") :].strip().splitlines()
    assert lines[0].split() == ["part", "passed", "failed", "skipped", "seconds"]
    return {line.split()[0]: tuple(int(word) for word in line.split()[1:4]) for line in lines[1:]}


def test_every_part_runs_and_is_in_the_table(folder, capfd):
    """A part that fails, breaks, is empty or is killed does not stop the next, and each has its row, then the sums."""
    assert run_proof(parts(*PARTS_OF_TESTS, "good"), folder) == 1
    sums = tuple(sum(counts) for counts in zip(*EXPECTED_COUNTS.values(), EXPECTED_COUNTS["good"], strict=True))
    assert read_table(capfd.readouterr().out) == EXPECTED_COUNTS | {"all": sums}


@pytest.mark.parametrize("names", [("good",), ("skipped", "good"), ("empty",)])
def test_the_exit_code_tells_whether_a_part_failed(folder, names):
    """The exit code is 0 if every test of every part passed or was skipped, else 1."""
    assert run_proof(parts(*names), folder) == int(any(EXPECTED_COUNTS[name][1] for name in names))


def test_a_part_gets_variables_of_its_own(folder, capfd):
    """The variables of a part reach its tests, and those of no other part."""
    (folder / "test_variable.py").write_text("import os\ndef test_it(): assert os.environ.get('OWN_OF_PART') == '1'")
    arguments = ["-q", "-p", "no:cacheprovider", "test_variable.py"]
    own = WITHOUT_PLUGINS | {"OWN_OF_PART": "1"}
    run_proof([ProofPart("with", arguments, own), ProofPart("without", arguments, WITHOUT_PLUGINS)], folder)
    assert read_table(capfd.readouterr().out) == {"with": (1, 0, 0), "without": (0, 1, 0), "all": (1, 1, 0)}


def test_an_interrupt_prints_the_table(folder):
    """Ctrl-C ends the running part and starts no other; the table of what ran is printed, and the exit code is 130."""
    (folder / "test_slow.py").write_text(
        "import time\ndef test_slow():\n    print('slow', flush=True); time.sleep(600)"
    )
    code = (
        "import sys; from pathlib import Path; from proof import ProofPart, run_proof\n"
        "parts = [ProofPart(n, ['-q', '-s', f'test_{n}.py']) for n in ('good', 'slow', 'bad')]\n"
        f"sys.exit(run_proof(parts, Path({str(folder)!r})))"
    )
    words = [sys.executable, "-c", code]
    environment = os.environ | WITHOUT_PLUGINS | {"PYTHONPATH": str(ROOT / "tests")}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as proof:
        lines = []
        while "slow" not in "".join(lines[-1:]).replace("=== slow", ""):
            lines.append(proof.stdout.readline())
        os.killpg(proof.pid, signal.SIGINT)
        try:
            rest = proof.communicate(timeout=60)[0]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(proof.pid, signal.SIGKILL)
    assert proof.returncode == 130
    assert read_table(rest) == {"good": (2, 0, 0), "all": (2, 0, 0)}
    assert "=== bad" not in rest


def test_the_files_of_every_part_exist():
    """Each part names files that exist, all fuzz tests are among them, and every part but the last runs in full."""
    named = [ROOT / word for part in PROOF_PARTS for word in part.arguments if word.endswith(".py") or "/" in word]
    assert [path for path in named if not path.exists()] == []
    assert set(Path(__file__).parent.glob("test_fuzz*.py")) < set(named)
    assert ["--proof" in part.arguments for part in PROOF_PARTS] == [True] * (len(PROOF_PARTS) - 1) + [False]
