"""The cache of downloads: fetches exactly the locked files, several at a time, and checks every one."""

from __future__ import annotations

import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from anthem_core.console import progress
from anthem_core.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anthem_sandbox.node.lock import Artifact

PARALLEL_DOWNLOADS = 8


class CorruptDownloadError(NodeError):
    """A download does not have the SHA-256 of the lock."""


class DownloadError(NodeError):
    """A repository does not hand out a file."""


def cache_folder() -> Path:
    """Where downloads are kept: `anthem-search` under `ANTHEM_CACHE`, `XDG_CACHE_HOME` or `~/.cache`.

    Raises:
        NodeError: None of them is set, and this user has no home.
    """
    base = os.environ.get("ANTHEM_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser().absolute() / "anthem-search"
    except RuntimeError as error:
        raise NodeError(
            f"{base} leads nowhere: user {os.geteuid()} has no home folder; set ANTHEM_CACHE to a folder of your own"
        ) from error


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk, or a folder that cannot be written, into a sentence with the cure.

    Raises:
        NodeError: The disk is full, or the folder belongs to somebody else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = disk_usage(folder).free / 1e6
            raise NodeError(
                f"the disk that holds {folder} is full: {free:.0f} MB are free, the local node needs about 300 MB; "
                "free some space, or set ANTHEM_CACHE to a folder on another disk"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise NodeError(
                f"{error.filename or folder} cannot be written ({error.strerror}); "
                "make it yours, or set ANTHEM_CACHE to a folder of your own"
            ) from error
        raise


def create_maven_context(folder: Path) -> Any:  # noqa: ANN401 (jgo publishes no types)
    """A Maven repository to download from: the usual one, or the mirror that `ANTHEM_MAVEN_URL` names."""
    from jgo.maven import MavenContext, PythonResolver

    mirror = os.environ.get("ANTHEM_MAVEN_URL")
    remotes = {"mirror": mirror.rstrip("/")} if mirror else None
    return MavenContext(repo_cache=folder, resolver=PythonResolver(), remote_repos=remotes, timeout=60)


def is_intact(path: Path, artifact: Artifact) -> bool:
    """Whether a file is there and has the SHA-256 of the lock."""
    if not path.is_file() or path.stat().st_size != artifact.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256


@retry(
    retry=retry_if_exception_type(DownloadError),
    stop=stop_after_attempt(4),
    wait=wait_random_exponential(multiplier=0.5, max=8),
    reraise=True,
)
def _download(artifact: Artifact, scratch: Path) -> Path:
    """Download one file into an empty folder, without asking for its description or its dependencies."""
    from requests import RequestException

    component = create_maven_context(scratch).project(artifact.group, artifact.artifact).at_version(artifact.version)
    wanted = component.artifact(packaging=artifact.packaging)
    try:
        return Path(wanted.resolve())
    # requests' errors are OSErrors, and so is a full disk: only the first kind is worth another try.
    except (RequestException, RuntimeError) as error:
        wanted.cached_path.unlink(missing_ok=True)
        raise DownloadError(
            f"{artifact.coordinate} could not be downloaded ({error}); look at the network and at HTTPS_PROXY, "
            "or set ANTHEM_MAVEN_URL to a mirror of the Maven repository"
        ) from error


@retry(retry=retry_if_exception_type(CorruptDownloadError), stop=stop_after_attempt(2), reraise=True)
def download_artifact(artifact: Artifact, folder: Path) -> Path:
    """Download one locked file into `folder`; a file that is not what the lock says never arrives there.

    Raises:
        NodeError: No repository hands it out, it arrives corrupt twice, or the disk is full.
    """
    target = folder / artifact.filename
    with explain_disk_errors(folder), TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        arrived = _download(artifact, Path(scratch))
        if not is_intact(arrived, artifact):
            raise CorruptDownloadError(
                f"{artifact.coordinate} arrived corrupt: {arrived.stat().st_size} bytes that do not have the SHA-256 "
                f"{artifact.sha256} of the lock; try again, and if it stays so, look at the proxy or mirror in between"
            )
        arrived.chmod(0o644)
        arrived.replace(target)
    return target


def ensure_artifacts(artifacts: Iterable[Artifact]) -> Path:
    """Fetch what the cache lacks or holds damaged, and return the folder that now holds every artifact.

    Raises:
        NodeError: A file cannot be had; the message says which, why, and what to do.
    """
    folder = cache_folder() / "artifacts"
    with explain_disk_errors(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
        missing = [one for one in artifacts if not is_intact(folder / one.filename, one)]
    missing.sort(key=lambda one: -one.size)
    if missing:
        _download_all(missing, folder)
    return folder


def _download_all(missing: list[Artifact], folder: Path) -> None:
    megabytes = sum(one.size for one in missing) / 1e6
    with (
        progress(f"Downloading OpenSearch ({megabytes:.0f} MB)", len(missing)) as advance,
        ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
    ):
        try:
            for done in as_completed([pool.submit(download_artifact, one, folder) for one in missing]):
                done.result()
                advance(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
