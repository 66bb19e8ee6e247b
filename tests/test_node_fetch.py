"""The download cache of the local node: every artifact is intact, or the error says what to do."""

import hashlib
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from maven_mirror import serve_artifact

from anthem_core import artifact_cache
from anthem_core.artifact_cache import Artifact, create_maven_context, ensure_artifacts, explain_disk_errors
from anthem_core.errors import ExtraError, NodeError
from anthem_core.opensearch.local_node import cache_folder
from anthem_sandbox.node.cli import node

# jgo does not close a response that it rejects; the mirror collects it as garbage.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed <socket:ResourceWarning",
)

CONTENT = b"content of a jar" * 200
JAR = Artifact("org.toy", "toy", "1.0", "jar", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), ("lib",))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A mirror that holds one artifact."""
    with serve_artifact(JAR, CONTENT, tmp_path, monkeypatch) as mirror:
        yield mirror


def test_cache_folder_follows_the_variables(monkeypatch):
    """`ANTHEM_CACHE` takes precedence over `XDG_CACHE_HOME`, and that over the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("ANTHEM_CACHE", "/a")
    assert cache_folder() == Path("/a/anthem-search")
    monkeypatch.delenv("ANTHEM_CACHE")
    assert cache_folder() == Path("/x/anthem-search")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "anthem-search"


def test_download_once(repository):
    """An intact file in the cache is not downloaded again."""
    folder = ensure_artifacts([JAR])
    assert (folder / JAR.filename).read_bytes() == CONTENT
    requests = len(repository.paths)
    ensure_artifacts([JAR])
    assert len(repository.paths) == requests


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT[:-1] + b"?"])
def test_damaged_cache_is_repaired(damage):
    """A cached file that is truncated or altered is detected and downloaded again."""
    folder = ensure_artifacts([JAR])
    (folder / JAR.filename).write_bytes(damage)
    ensure_artifacts([JAR])
    assert (folder / JAR.filename).read_bytes() == CONTENT


def test_failed_downloads_are_retried(repository):
    """After two failures the download succeeds, and the cache contains nothing but the file."""
    repository.failures = 2
    folder = ensure_artifacts([JAR])
    assert [path.name for path in folder.iterdir()] == [JAR.filename]


def test_missing_file_is_an_error(repository, monkeypatch):
    """A file that the repository does not have is an error after four attempts, with its coordinate and the fix."""
    monkeypatch.setattr(artifact_cache._download.retry, "sleep", lambda _: None)
    repository.file.unlink()
    with pytest.raises(NodeError, match=r"org\.toy:toy:1\.0 could not be downloaded.*ANTHEM_MAVEN_URL"):
        ensure_artifacts([JAR])
    assert len(repository.paths) == 4


def test_corrupt_download_is_an_error(repository):
    """A file that is altered in two downloads does not reach the cache, and the error names its SHA-256."""
    repository.file.write_bytes(b"?" + CONTENT[1:])
    with pytest.raises(NodeError, match=r"is corrupt.*SHA-256"):
        ensure_artifacts([JAR])
    assert list((cache_folder() / "artifacts").iterdir()) == []
    assert sum(path.endswith(".jar") for path in repository.paths) == 2


def test_full_disk_is_an_error(tmp_path):
    """A write to a full device becomes an error with the fix."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(NodeError, match=r"is full.*ANTHEM_CACHE"), explain_disk_errors(tmp_path):
        Path("/dev/full").write_bytes(b"x")


def test_cache_path_that_is_a_file_is_an_error(tmp_path, monkeypatch):
    """If the cache path is a file, the error names it and the fix."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ANTHEM_CACHE", str(tmp_path / "file"))
    with pytest.raises(NodeError, match=r"file.* cannot be written.*ANTHEM_CACHE"):
        ensure_artifacts([JAR])


def test_other_system_errors_are_not_changed(tmp_path):
    """An error that is neither a full disk nor a folder without permission is raised unchanged."""
    with pytest.raises(IsADirectoryError), explain_disk_errors(tmp_path):
        tmp_path.write_text("")


@pytest.fixture
def without_jgo(monkeypatch):
    """An installation without the extra `demo`."""
    monkeypatch.setitem(sys.modules, "jgo", None)


@pytest.mark.usefixtures("without_jgo", "repository")
def test_downloads_need_the_extra_demo():
    """Without jgo, a download is an error that names the extra and the missing package."""
    with pytest.raises(ExtraError, match=r"jgo.*demo"):
        ensure_artifacts([JAR])
    with pytest.raises(ExtraError, match=r"jgo.*demo"):
        create_maven_context(cache_folder())


@pytest.mark.usefixtures("without_jgo")
@pytest.mark.parametrize("command", [["--help"], ["start", "--help"], ["lock", "--help"], ["stop"]])
def test_commands_without_a_download_run_without_the_extra_demo(command, tmp_path):
    """Help and commands that download nothing do not need jgo."""
    home = [] if "--help" in command else ["--home", str(tmp_path)]
    assert CliRunner().invoke(node, [*command, *home]).exit_code == 0


@pytest.fixture
def user_without_home(monkeypatch):
    """A user without a home folder and without an entry in the user database, as in some containers."""
    for name in ("ANTHEM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)


@pytest.mark.usefixtures("user_without_home")
@pytest.mark.parametrize("command", ["start", "status", "stop"])
def test_a_user_without_a_home_must_set_the_cache(command):
    """Every command of the node ends with exit code 5 and names the variable to set."""
    result = CliRunner().invoke(node, [command])
    assert result.exit_code == 5
    assert "user 4242 has no home folder. Set ANTHEM_CACHE" in result.stderr


@pytest.mark.usefixtures("user_without_home")
def test_a_user_without_a_home_can_set_the_cache(monkeypatch, tmp_path):
    """If the variable is set, the home folder is not needed."""
    monkeypatch.setenv("ANTHEM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "anthem-search"
