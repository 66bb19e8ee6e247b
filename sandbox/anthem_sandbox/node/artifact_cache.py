"""The download cache: fetches the artifacts of a lock in parallel and verifies the SHA-256 of each."""

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
from anthem_core.errors import NodeError, require_extra
from anthem_core.opensearch.local_node import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anthem_sandbox.node.lock import Artifact

PARALLEL_DOWNLOADS = 8


class CorruptDownloadError(NodeError):
    """The SHA-256 of a download differs from the lock."""


class DownloadError(NodeError):
    """A file cannot be downloaded from the repository."""


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk or a folder that is not writable into a message that says how to fix it.

    Raises:
        NodeError: The disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free_megabytes = disk_usage(folder).free / 1e6
            raise NodeError(
                f"The disk of {folder} is full: {free_megabytes:.0f} MB are free, but the local node needs about "
                "300 MB. Free some space, or set ANTHEM_CACHE to a folder on another disk."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise NodeError(
                f"{error.filename or folder} cannot be written ({error.strerror}). "
                "Change its owner, or set ANTHEM_CACHE to a folder that you own."
            ) from error
        raise


def create_maven_context(folder: Path) -> Any:  # noqa: ANN401 (jgo publishes no types)
    """A Maven repository to download from: the default one, or the mirror named by `ANTHEM_MAVEN_URL`.

    Raises:
        ExtraError: The extra `demo` is not installed.
    """
    require_extra("demo", "jgo")
    from jgo.maven import MavenContext, PythonResolver

    mirror = os.environ.get("ANTHEM_MAVEN_URL")
    remotes = {"mirror": mirror.rstrip("/")} if mirror else None
    return MavenContext(repo_cache=folder, resolver=PythonResolver(), remote_repos=remotes, timeout=60)


def is_intact(path: Path, artifact: Artifact) -> bool:
    """Whether the file exists and has the size and the SHA-256 of the lock."""
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
    """Download one file into an empty folder, without its Maven description and its dependencies."""
    context = create_maven_context(scratch)
    from requests import RequestException

    component = context.project(artifact.group, artifact.artifact).at_version(artifact.version)
    remote = component.artifact(packaging=artifact.packaging)
    try:
        return Path(remote.resolve())
    # Like a full disk, a RequestException is an OSError, but only the RequestException is worth a retry.
    except (RequestException, RuntimeError) as error:
        remote.cached_path.unlink(missing_ok=True)
        raise DownloadError(
            f"{artifact.coordinate} could not be downloaded ({error}). Check the network and HTTPS_PROXY, "
            "or set ANTHEM_MAVEN_URL to a mirror of the Maven repository."
        ) from error


@retry(retry=retry_if_exception_type(CorruptDownloadError), stop=stop_after_attempt(2), reraise=True)
def download_artifact(artifact: Artifact, folder: Path) -> Path:
    """Download one locked file into `folder`, which only receives files that match the lock.

    Raises:
        NodeError: The download fails, its SHA-256 is wrong twice, or the disk is full.
        ExtraError: The extra `demo` is not installed.
    """
    target = folder / artifact.filename
    with explain_disk_errors(folder), TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        download = _download(artifact, Path(scratch))
        if not is_intact(download, artifact):
            raise CorruptDownloadError(
                f"{artifact.coordinate} is corrupt: {download.stat().st_size} bytes whose SHA-256 is not "
                f"{artifact.sha256}, as the lock requires. Try again; if that fails, check the proxy or the mirror."
            )
        download.chmod(0o644)
        download.replace(target)
    return target


def ensure_artifacts(artifacts: Iterable[Artifact]) -> Path:
    """Download the artifacts that are missing or damaged in the cache, and return the folder that holds all of them.

    Raises:
        NodeError: A file cannot be downloaded or stored; the message says which one, why, and what to do.
        ExtraError: A file is missing, and the extra `demo` is not installed.
    """
    folder = cache_folder() / "artifacts"
    with explain_disk_errors(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
        missing = [artifact for artifact in artifacts if not is_intact(folder / artifact.filename, artifact)]
    missing.sort(key=lambda artifact: -artifact.size)
    if missing:
        _download_all(missing, folder)
    return folder


def _download_all(artifacts: list[Artifact], folder: Path) -> None:
    megabytes = sum(artifact.size for artifact in artifacts) / 1e6
    with (
        progress(f"Downloading OpenSearch ({megabytes:.0f} MB)", len(artifacts)) as advance,
        ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
    ):
        try:
            for download in as_completed([pool.submit(download_artifact, artifact, folder) for artifact in artifacts]):
                download.result()
                advance(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
