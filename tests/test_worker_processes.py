"""Worker processes: what they return, and that none outlives its parent; and the number of cores for them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from shared_work import end, fail, read_blocked_signals, refuse_release, square

from anthem_core.cores import cgroup_quota, usable_cores
from anthem_core.errors import AnthemError, ClusterError, DataError
from anthem_core.opensearch.versions import UnsupportedClusterError
from anthem_ingest.cli import ingest
from anthem_ingest.slices import MAX_PROCESSES_PER_CORE, check_processes
from anthem_ingest.worker_processes import run_in_processes

# A module of its own, because workers import the work by its name.
WORK = '''
import os, sys, time
from contextlib import closing
from functools import partial
from pathlib import Path
from anthem_ingest.worker_processes import run_in_processes

def write_for_ever(folder, number):
    """Write to a file named after this process, again and again."""
    while True:
        with (Path(folder) / str(os.getpid())).open("a") as file:
            file.write("x")
        time.sleep(0.005)

if __name__ == "__main__":
    with closing(run_in_processes(partial(write_for_ever, sys.argv[1]), range(8), 3)) as results:
        list(results)
'''
ERRORS = [DataError("bad line"), AnthemError("other")]


@pytest.mark.parametrize(("numbers", "processes"), [(0, 2), (1, 2), (7, 1), (7, 2), (2, 5)])
def test_every_number_is_worked_on_once(numbers, processes):
    """Every number gives its result, once, from no more processes than were asked for, and never from this one."""
    with closing(run_in_processes(square, range(numbers), processes)) as results:
        pairs = list(results)
    assert sorted(result for result, _ in pairs) == [number * number for number in range(numbers)]
    pids = {pid for _, pid in pairs}
    assert len(pids) <= min(processes, numbers)
    assert os.getpid() not in pids
    assert not any(is_running(pid) for pid in pids)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_the_work_is_raised(error):
    """An error of ours keeps its class and message; all processes end."""
    with pytest.raises(type(error), match=f"^{error}$"):
        list(run_in_processes(partial(fail, error), range(6), 2))


def test_an_error_whose_class_takes_something_else_is_raised():
    """An error whose constructor does not take its message arrives with the same message."""
    with pytest.raises(ClusterError) as caught:
        list(run_in_processes(refuse_release, range(6), 2))
    assert str(caught.value) == str(UnsupportedClusterError("OpenSearch 1.3"))


def test_a_bug_of_the_work_is_raised_with_its_traceback():
    """Any other exception is a bug: its traceback in the worker is the message."""
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*in fail.*ZeroDivisionError: by zero"):
        list(run_in_processes(partial(fail, ZeroDivisionError("by zero")), range(6), 2))


@pytest.mark.parametrize("code", [0, 137])
def test_a_worker_that_ends_is_an_error(code):
    """If a worker ends in the middle of its work, as one that takes too much memory, the error says what to do."""
    with pytest.raises(AnthemError, match=f"exit code {code}.*--slices.*again"):
        list(run_in_processes(partial(end, code), range(4), 2))


def test_an_interrupt_reaches_no_worker():
    """SIGINT is blocked in every worker from its start, so Ctrl-C in a terminal prints one message, not several."""
    with closing(run_in_processes(read_blocked_signals, range(6), 3)) as results:
        assert all(blocked & 1 << (signal.SIGINT - 1) for blocked in results)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def is_running(pid):
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def obey_signals():
    """Undo what `nohup` and a shell's background job pass on, in a new process: signals that are ignored."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "to_group"),
    [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True),
     (signal.SIGKILL, False), (signal.SIGHUP, False), (signal.SIGQUIT, False)],
)  # fmt: skip
def test_no_worker_outlives_its_parent(tmp_path, wait_until, number, to_group):
    """Whatever signal ends the parent, Ctrl-C in a terminal included, no worker runs or writes afterwards."""
    (tmp_path / "work.py").write_text(WORK)
    folder = tmp_path / "written"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "work.py"), str(folder)],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=obey_signals,  # noqa: PLW1509 (it calls nothing but `signal`)
    ) as parent:
        wait_until(lambda: parent.poll() is not None or len(list(folder.iterdir())) == 3)
        assert parent.poll() is None, parent.stderr.read()
        workers = [int(path.name) for path in folder.iterdir()]
        (os.killpg if to_group else os.kill)(parent.pid, number)
        parent.wait()
        message = parent.stderr.read()
    wait_until(lambda: not any(map(is_running, workers)))
    sizes = [path.stat().st_size for path in folder.iterdir()]
    time.sleep(0.1)
    assert [path.stat().st_size for path in folder.iterdir()] == sizes
    assert message.count("Traceback") <= 1, message  # only that of the parent


@pytest.mark.parametrize("number", [usable_cores() * MAX_PROCESSES_PER_CORE + 1, 1_000_000, 10**30])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_too_many_slices_are_a_usage_error(number, options):
    """More processes than a machine can use are refused before anything starts; the message names a sensible number."""
    result = CliRunner().invoke(ingest, ["products", "--slices", str(number), "--url", "http://127.0.0.1:9", *options])
    assert result.exit_code == 2
    assert f"found {number}, expected at most" in result.stderr
    assert f"A sensible number is {usable_cores()}." in result.stderr


@pytest.mark.parametrize(("cores", "limit"), [(1, 4), (2, 8), (64, 256), (192, 256)])
def test_the_bound_follows_the_cores(monkeypatch, cores, limit):
    """Four processes per core are allowed, but never more than OpenSearch has slices for."""
    monkeypatch.setattr("anthem_ingest.slices.usable_cores", lambda: cores)
    check_processes(limit)
    with pytest.raises(ValueError, match=f"at most {limit}"):
        check_processes(limit + 1)


def test_cores_are_those_of_the_affinity():
    """A process that may run on one core, as in a container with `--cpuset-cpus`, uses one thread."""
    code = "from anthem_core.cores import usable_cores; print(usable_cores())"
    one = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{one}}}); {code}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


@given(st.lists(st.tuples(st.integers(1, 400_000), st.sampled_from([50_000, 100_000])) | st.none(), max_size=4))
def test_the_quota_is_the_lowest_of_all_groups(tmp_path_factory, limits):
    """The quota of version 2 is the lowest of the own group and those above it; `max` and missing files are none."""
    root = tmp_path_factory.mktemp("cgroup")
    folder = root
    for number, limit in enumerate(limits):
        folder = folder / f"g{number}"
        folder.mkdir()
        (folder / "cpu.max").write_text("max 100000\n" if limit is None else f"{limit[0]} {limit[1]}\n")
    own = root / "own"
    own.write_text(f"0::/{folder.relative_to(root)}\n")
    quotas = [quota / period for quota, period in filter(None, limits)]
    assert cgroup_quota(root, own) == min(quotas, default=None)


@pytest.mark.parametrize(
    ("files", "own", "quota"),
    [
        ({}, None, None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "150000 100000\n"}, None, 1.5),
        ({"cpu.max": "nonsense"}, "0::/\n", None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/\n", None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/\n", 0.5),
        ({"cpu/docker/a/cpu.cfs_quota_us": "300000\n", "cpu/docker/a/cpu.cfs_period_us": "100000\n"},
         "5:memory:/b\n4:cpu,cpuacct:/docker/a\n", 3.0),
        ({"cpu/cpu.cfs_quota_us": "1\n", "cpu/cpu.cfs_period_us": "0\n"}, "4:cpu:/\n", None),
    ],
)  # fmt: skip
def test_quotas_of_containers(tmp_path, files, own, quota):
    """Quotas of version 1 and 2, as the root or below it; a file that cannot be read is no limit."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert cgroup_quota(tmp_path, tmp_path / "own") == quota


def test_no_module_counts_the_cores_of_the_machine():
    """Only `anthem_core.cores` asks the system for cores."""
    root = Path(__file__).resolve().parent.parent
    texts = {path: path.read_text(encoding="utf-8") for path in root.glob("*/anthem_*/**/*.py")}
    asking = [str(path.relative_to(root)) for path, text in texts.items() if "cpu_count" in text or "affinity(" in text]
    assert asking == ["core/anthem_core/cores.py"]
