"""The download cache: fetches files of a Maven repository in parallel and verifies the SHA-256 of each."""

from __future__ import annotations

import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from anthem_core.console import progress
from anthem_core.errors import NodeError, require_extra
from anthem_core.opensearch.local_node import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from anthem_core.console import Advance

    DownloadProgress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

PARALLEL_DOWNLOADS = 8


@dataclass(frozen=True, order=True)
class Artifact:
    """A file of a Maven repository, and the folders of a local node's home that receive it.

    The fields are the format of a lock file.
    """

    group: str
    artifact: str
    version: str
    packaging: str
    sha256: str
    size: int
    into: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        """Name of the file in the repository, in the cache and in the home."""
        return f"{self.artifact}-{self.version}.{self.packaging}"

    @property
    def coordinate(self) -> str:
        """Maven coordinate, `group:artifact:version`."""
        return f"{self.group}:{self.artifact}:{self.version}"


class CorruptDownloadError(NodeError):
    """The SHA-256 of a download differs from the expected one."""


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
                f"The disk of {folder} is full: {free_megabytes:.0f} MB are free, but about 300 MB are "
                "needed. Free some space, or set ANTHEM_CACHE to a folder on another disk."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
            raise NodeError(
                f"{error.filename or folder} cannot be written ({error.strerror}). "
                "Change its owner, or set ANTHEM_CACHE to a folder that you own."
            ) from error
        raise


def create_maven_context(folder: Path, on_bytes: DownloadProgress | None = None) -> Any:  # noqa: ANN401 (jgo publishes no types)
    """A Maven repository to download from: the default one, or the mirror named by `ANTHEM_MAVEN_URL`.

    Raises:
        ExtraError: The extra `demo` is not installed.
    """
    require_extra("demo", "jgo")
    from jgo.maven import MavenContext, PythonResolver

    mirror = os.environ.get("ANTHEM_MAVEN_URL")
    remotes = {"mirror": mirror.rstrip("/")} if mirror else None
    return MavenContext(
        repo_cache=folder, resolver=PythonResolver(progress_callback=on_bytes), remote_repos=remotes, timeout=60
    )


def is_intact(path: Path, artifact: Artifact) -> bool:
    """Whether the file exists and has the expected size and SHA-256."""
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
def _download(artifact: Artifact, scratch: Path, on_bytes: DownloadProgress | None) -> Path:
    """Download one file into an empty folder, without its Maven description and its dependencies."""
    context = create_maven_context(scratch, on_bytes)
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
def download_artifact(artifact: Artifact, folder: Path, on_bytes: DownloadProgress | None = None) -> Path:
    """Download one file into `folder`, which only receives files with the expected SHA-256.

    Raises:
        NodeError: The download fails, its SHA-256 is wrong twice, or the disk is full.
        ExtraError: The extra `demo` is not installed.
    """
    target = folder / artifact.filename
    with explain_disk_errors(folder), TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        download = _download(artifact, Path(scratch), on_bytes)
        if not is_intact(download, artifact):
            raise CorruptDownloadError(
                f"{artifact.coordinate} is corrupt: {download.stat().st_size} bytes whose SHA-256 is not "
                f"{artifact.sha256}, as expected. Try again; if that fails, check the proxy or the mirror."
            )
        download.chmod(0o644)
        download.replace(target)
    return target


def ensure_artifacts(artifacts: Iterable[Artifact], name: str = "OpenSearch") -> Path:
    """Download the artifacts that are missing or damaged in the cache, and return the folder that holds all of them.

    The progress bar shows `name`.

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
        _download_all(missing, folder, name)
    return folder


def _download_all(artifacts: list[Artifact], folder: Path, name: str) -> None:
    megabytes = sum(artifact.size for artifact in artifacts) // 10**6
    with (
        progress(f"Downloading {name}, MB", megabytes) as advance,
        ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
    ):
        on_bytes = _advance_by_megabytes(advance)
        try:
            downloads = [pool.submit(download_artifact, artifact, folder, on_bytes) for artifact in artifacts]
            for download in as_completed(downloads):
                download.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _advance_by_megabytes(advance: Advance) -> DownloadProgress:
    """A callback of jgo that advances a progress bar of megabytes by what all threads receive together."""
    lock, received = Lock(), 0

    def add(count: int) -> None:
        nonlocal received
        with lock:
            before, received = received, received + count
            advance(received // 10**6 - before // 10**6)

    return lambda _filename, _size: nullcontext(add)
