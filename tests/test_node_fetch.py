"""The cache of downloads of the local node: whole, or a sentence with the cure."""

import gc
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from anthem_core.errors import NodeError
from anthem_sandbox.node import artifact_cache
from anthem_sandbox.node.artifact_cache import cache_folder, ensure_artifacts, explain_disk_errors
from anthem_sandbox.node.cli import node
from anthem_sandbox.node.lock import Artifact

# jgo leaves an answer that it refuses open until it is collected; the fixture below sees to that.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed <socket:ResourceWarning",
)

CONTENT = b"a jar, as far as anyone can tell" * 100
TOY = Artifact("org.toy", "toy", "1.0", "jar", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), ("lib",))


class Repository(SimpleHTTPRequestHandler):
    """A Maven repository on the loopback address that fails as many requests as `failures` says."""

    failures = 0
    asked: list[str] = []  # noqa: RUF012 (shared on purpose, one per test)

    def do_GET(self):
        """Hand a file out, or fail."""
        type(self).asked.append(self.path)
        if type(self).failures > 0:
            type(self).failures -= 1
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A mirror with the toy artifact in it, named by `ANTHEM_MAVEN_URL`; the cache is empty and temporary."""
    kind = type("ThisRepository", (Repository,), {"asked": []})
    folder = tmp_path / "mirror" / "org" / "toy" / "toy" / "1.0"
    folder.mkdir(parents=True)
    (folder / TOY.filename).write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(tmp_path / "mirror")))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("ANTHEM_MAVEN_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("ANTHEM_CACHE", str(tmp_path / "cache"))
    kind.file = folder / TOY.filename
    yield kind
    server.shutdown()
    thread.join()
    server.server_close()
    gc.collect()


def test_cache_folder_follows_the_variables(monkeypatch):
    """`ANTHEM_CACHE` goes before `XDG_CACHE_HOME`, and that before the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("ANTHEM_CACHE", "/a")
    assert cache_folder() == Path("/a/anthem-search")
    monkeypatch.delenv("ANTHEM_CACHE")
    assert cache_folder() == Path("/x/anthem-search")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "anthem-search"


def test_download_once(repository):
    """A file that is in the cache and whole is not asked for again."""
    folder = ensure_artifacts([TOY])
    assert (folder / TOY.filename).read_bytes() == CONTENT
    asked = len(repository.asked)
    ensure_artifacts([TOY])
    assert len(repository.asked) == asked


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT[:-1] + b"?"])
def test_damaged_cache_is_mended(damage):
    """A cached file that was cut short or altered is noticed and fetched again."""
    folder = ensure_artifacts([TOY])
    (folder / TOY.filename).write_bytes(damage)
    ensure_artifacts([TOY])
    assert (folder / TOY.filename).read_bytes() == CONTENT


def test_failing_repository_is_asked_again(repository):
    """Two failures of a repository are got over; nothing but the file stays behind."""
    repository.failures = 2
    folder = ensure_artifacts([TOY])
    assert [path.name for path in folder.iterdir()] == [TOY.filename]


def test_missing_file_is_a_clear_error(repository, monkeypatch):
    """A file that no repository hands out ends in its coordinate and the cure, after four tries."""
    monkeypatch.setattr(artifact_cache._download.retry, "sleep", lambda _: None)
    repository.file.unlink()
    with pytest.raises(NodeError, match=r"org\.toy:toy:1\.0 could not be downloaded.*ANTHEM_MAVEN_URL"):
        ensure_artifacts([TOY])
    assert len(repository.asked) == 4


def test_corrupt_download_is_a_clear_error(repository):
    """A file that arrives altered twice never reaches the cache, and the error says so."""
    repository.file.write_bytes(b"?" + CONTENT[1:])
    with pytest.raises(NodeError, match=r"arrived corrupt.*SHA-256"):
        ensure_artifacts([TOY])
    assert list((cache_folder() / "artifacts").iterdir()) == []
    assert sum(path.endswith(".jar") for path in repository.asked) == 2


def test_full_disk_is_a_clear_error(tmp_path):
    """A real write to a full device becomes a sentence with the cure."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(NodeError, match=r"is full.*ANTHEM_CACHE"), explain_disk_errors(tmp_path):
        Path("/dev/full").write_bytes(b"x")


def test_cache_that_cannot_be_is_a_clear_error(tmp_path, monkeypatch):
    """Where a file stands in the way of the cache, the error names it and the cure."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ANTHEM_CACHE", str(tmp_path / "file"))
    with pytest.raises(NodeError, match=r"file.* cannot be written.*ANTHEM_CACHE"):
        ensure_artifacts([TOY])


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    """An error that is neither a full disk nor a closed folder is not dressed up as one."""
    with pytest.raises(IsADirectoryError), explain_disk_errors(tmp_path):
        tmp_path.write_text("")


@pytest.fixture
def homeless(monkeypatch):
    """A user without a home folder and without an entry in the list of users, as in some containers."""
    for name in ("ANTHEM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("command", ["start", "status", "stop"])
def test_a_user_without_a_home_is_told_what_to_set(command):
    """Every command of the node ends in exit code 5 and names the variable to set."""
    told = CliRunner().invoke(node, [command])
    assert told.exit_code == 5
    assert "user 4242 has no home folder; set ANTHEM_CACHE" in told.stderr


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_may_name_a_cache(monkeypatch, tmp_path):
    """With the variable set nobody asks for a home."""
    monkeypatch.setenv("ANTHEM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "anthem-search"
