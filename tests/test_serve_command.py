"""The command `anthem serve` before it serves: extra, signal handler, API keys and addresses."""

import ctypes
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from opensearchpy.exceptions import NotFoundError

from anthem_core.errors import DataError
from anthem_plugin.scoring.painless import script_id
from anthem_plugin.service.cli import _is_loopback, read_api_keys, serve
from anthem_plugin.service.script_storage import ScriptKeeper

WITHOUT_EXTRA = """
import sys
sys.modules.update(dict.fromkeys(["fastapi", "pydantic", "starlette", "uvicorn", "prometheus_client"]))
from anthem_plugin.service.cli import serve
serve(["--help"])
"""


RETURN_MEMORY = """
import resource, sys
import numpy as np
from anthem_plugin.service.memory import return_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

assert return_freed_memory()
before, kept = resident(), []
for _ in range(5):
    large = [np.ones(2**20) for _ in range(12)]  # 96 MB
    kept += [np.ones(50) for _ in range(50)]
    del large
print(resident() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_freed_memory_is_returned():
    """Memory of large arrays is returned when they are freed, even if small objects that were made later stay."""
    grown = subprocess.run([sys.executable, "-c", RETURN_MEMORY], capture_output=True, text=True, check=True)
    assert float(grown.stdout) < 10


def test_a_missing_extra_is_named(monkeypatch):
    """Without the extra `serve` the command ends with 9 and names the packages and how to install them."""
    monkeypatch.setattr("anthem_core.errors.find_spec", lambda _: None)
    result = CliRunner().invoke(serve, [])
    assert result.exit_code == 9
    assert "fastapi, uvicorn, prometheus_client not found" in result.output
    assert "pip install '.[serve]'" in result.output


def test_the_help_needs_no_extra():
    """`--help` works in a process in which the packages of the extra cannot be imported."""
    result = subprocess.run([sys.executable, "-c", WITHOUT_EXTRA], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "--concurrency" in result.stdout


def test_the_signal_handler_is_restored(tmp_path):
    """After the command, here with a folder that is not a bundle, SIGTERM has its previous handler again."""

    def handler(*_):
        raise AssertionError

    original = signal.signal(signal.SIGTERM, handler)
    try:
        assert CliRunner().invoke(serve, ["--bundle", str(tmp_path)]).exit_code == 3
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, original)


def test_sigterm_exits_with_0_while_the_command_runs(monkeypatch):
    """While the command runs, SIGTERM ends it with exit code 0."""
    monkeypatch.setattr("anthem_plugin.service.cli._build_server", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert CliRunner().invoke(serve, []).exit_code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [("\n  \n", "no API keys"), ("good\ntvå nycklar\n", "key 2 of 2"), ("xylo phone\n", "key 1 of 1")],
)
def test_unusable_api_keys_are_an_error(tmp_path, content, message):
    """A file without keys, or with a key that a header cannot carry, is an error that does not show the key."""
    (tmp_path / "keys").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        read_api_keys(tmp_path / "keys")
    assert not any(word in str(error.value) for word in content.split())


def test_api_keys_are_read_one_per_line(tmp_path):
    """Blank lines and surrounding spaces are ignored."""
    (tmp_path / "keys").write_text("first\n\n second \n")
    assert read_api_keys(tmp_path / "keys") == ("first", "second")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.1.2.3", False),
        ("server", False),
    ],
)  # fmt: skip
def test_is_loopback(host, expected):
    """Only loopback addresses and the name localhost count as loopback."""
    assert _is_loopback(host) == expected


def has_script(client):
    """Whether the cluster has the script."""
    try:
        return bool(client.get_script(id=script_id())["found"])
    except NotFoundError:
        return False


@pytest.mark.node
def test_a_script_that_is_deleted_comes_back(cluster, client, wait_until):
    """The service stores the script at its start and again while it runs."""
    with ScriptKeeper(cluster, interval=0.1):
        wait_until(lambda: has_script(client))
        client.delete_script(id=script_id())
        wait_until(lambda: has_script(client))


def test_a_cluster_that_does_not_answer_is_said_once(wait_until, capsys):
    """A warning that is the same as before is not printed again; the service goes on trying, and stops at once."""
    tries = set()
    with ScriptKeeper("http://127.0.0.1:9", interval=0.01) as keeper:
        keeper.wait()
        wait_until(lambda: tries.add(keeper._process) or len(tries - {None}) > 1)
    assert capsys.readouterr().err.count("was not stored") == 1
