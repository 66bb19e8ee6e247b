"""`anthem uninstall-data`: what it lists, what it removes, and what it leaves alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from anthem_core.cli import main
from anthem_core.opensearch.local_node import STATE_FILE, cache_folder, home_argument, homes_folder, state_folder
from anthem_doctor.history import default_history_file
from anthem_sandbox import uninstall

SIZES = {"artifacts/opensearch.jar": 5_000, "teachers/small/model.onnx": 3_000}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Cache, state and homes in a folder of the test; nothing of this machine is touched."""
    monkeypatch.setenv("ANTHEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(uninstall, "homes_folder", lambda: tmp_path / "homes")
    for name, size in SIZES.items():
        file = cache_folder() / name
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" * size)
    (tmp_path / "homes" / "node" / "data").mkdir(parents=True)
    (tmp_path / "homes" / "node" / "data" / "segment").write_bytes(b"x" * 2_000)
    state_folder().mkdir(parents=True)
    default_history_file().write_text("{}\n")
    return tmp_path


def run(*options, answer=None):
    """Result of the command."""
    return CliRunner().invoke(main, ["uninstall-data", *options], input=answer)


def test_everything_is_listed_and_removed(folders):
    """After --yes, cache, homes and history are gone; each is named with its size, and the base folders stay."""
    result = run("--yes", "--json")
    assert result.exit_code == 0, result.output
    removed = {entry["path"]: entry["bytes"] for entry in json.loads(result.stdout)["removed"]}
    assert removed == {
        str(folders / "homes"): 2_000,
        str(folders / "cache" / "anthem-search"): 8_000,
        str(default_history_file()): 3,
    }
    assert all(path in result.stderr for path in removed)
    assert sorted(path.name for path in folders.rglob("*")) == ["cache", "state"]
    again = run("--yes")
    assert (again.exit_code, again.stdout) == (0, "There is nothing to remove.\n")


@pytest.mark.parametrize("answer", ["n\n", "", "\n"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_nothing_is_removed_without_a_yes(folders, answer, options):
    """Without --yes the command asks; any answer but yes, or none, leaves everything and exits 1."""
    before = sorted(folders.rglob("*"))
    result = run(*options, answer=answer)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert str(cache_folder()) in result.stderr
    assert sorted(folders.rglob("*")) == before
    if options:
        assert json.loads(result.stderr.splitlines()[-1])["exit_code"] == 1


@pytest.mark.usefixtures("folders")
def test_an_answer_removes():
    """The answer yes removes, and the result says how much."""
    assert run(answer="y\n").stdout == "Removed 10.0 kB.\n"
    assert not cache_folder().exists()


@pytest.mark.parametrize("place", ["node", "node-2.19.1", "run-x/node-0"])
def test_a_running_node_is_an_error(folders, place):
    """While a node of any home runs, nothing is removed: exit code 5, with the home and the command that stops it."""
    home = folders / "homes" / place
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", home_argument(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as node:
        state = {"pid": node.pid, "port": 9, "release": "3.6.0"}
        (home / STATE_FILE).write_text(json.dumps(state))
        before = sorted(folders.rglob("*"))
        result = run("--yes")
        assert result.exit_code == 5
        assert f"anthem node stop --home {home}" in result.stderr
        assert sorted(folders.rglob("*")) == before
        node.stdin.close()
    assert run("--yes").exit_code == 0, "the state file of a node that ended does not matter"
    assert not home.exists()


def test_other_files_stay(folders):
    """Files beside the history and beside the cache belong to others and stay."""
    (state_folder() / "notes.txt").write_text("mine")
    (folders / "cache" / "other").mkdir()
    assert run("--yes").exit_code == 0
    assert (state_folder() / "notes.txt").read_text() == "mine"
    assert (folders / "cache" / "other").is_dir()
    assert not default_history_file().exists()


def test_links_are_not_followed(folders):
    """A link inside the cache is removed, not what it points to; a cache that is itself a link is left to the user."""
    outside = folders / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (cache_folder() / "link").symlink_to(outside)
    assert run("--yes").exit_code == 0
    assert (outside / "file").read_text() == "mine"
    cache_folder().symlink_to(outside)
    result = run("--yes")
    assert result.exit_code == 5
    assert f"symbolic link to {outside}" in result.stderr
    assert (outside / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("chattr") is None, reason="root may remove everything else")
def test_a_folder_that_cannot_be_removed_is_named(folders):
    """A file that cannot be removed ends the command with exit code 5 and its name."""
    locked = folders / "homes" / "node" / "data" / "segment"
    if subprocess.run(["chattr", "+i", str(locked)], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        result = run("--yes")
    finally:
        subprocess.run(["chattr", "-i", str(locked)], check=True)
    assert result.exit_code == 5
    assert "could not be removed (Operation not permitted)" in result.stderr


def test_a_file_with_two_names_counts_once(tmp_path):
    """Hard links, which a home has to the cache, and symbolic links do not count twice."""
    (tmp_path / "a").write_bytes(b"x" * 100)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert uninstall.measure_size(tmp_path) == 100


def test_the_folders_are_those_that_the_commands_use(monkeypatch):
    """The command looks where nodes, downloads and the history are."""
    assert uninstall.homes_folder is homes_folder
    assert uninstall.cache_folder is cache_folder
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert default_history_file() == Path("/home/me/.local/state/anthem/doctor.jsonl")
