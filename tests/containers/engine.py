"""Finds a container engine: Docker if its daemon answers, else podman, which it can install with apt.

Imports the standard library alone, because `.ci/run` calls it before anything is installed.
"""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

PODMAN_PACKAGES = ("podman", "runc", "debootstrap")
DOWNLOAD_TIMEOUT_SECONDS, INSTALL_TIMEOUT_SECONDS = 90, 300


class NoEngineError(Exception):
    """No container engine, or no image, can be had on this machine; the message says why."""


@dataclass(frozen=True)
class ContainerEngine:
    """A command, `docker` or `podman`, the variables with which it runs, and the time limit of a step of a build."""

    command: str
    variables: dict[str, str]
    build_seconds: int = 300

    @property
    def environment(self):
        """Variables of a process that uses the engine."""
        return os.environ | self.variables

    @property
    def path(self):
        """Path of the command."""
        return shutil.which(self.command)

    def call(self, *words, program=None, timeout=60, extra=None, **options):
        """Run a command of the engine, or a program that uses it, and return the exit code and the output as text."""
        environment = self.environment | (extra or {})
        return call([*(program or [self.command]), *words], timeout=timeout, env=environment, **options)


def call(words, timeout, **options):
    """Run a program with its output as text; a program that is missing or takes too long has the exit code 127."""
    try:
        return subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL, **options
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 127, "", f"{words[0]} did not end within {timeout} s")
    except OSError as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))


def last_line(text):
    """The last line of a program's output that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")


def state_folder():
    """Folder of what podman keeps for the tests, apart from the user's own images: ANTHEM_CONTAINERS, or the cache."""
    cache = os.environ.get("ANTHEM_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "anthem-search"
    return Path(os.environ.get("ANTHEM_CONTAINERS") or Path(cache) / "containers").expanduser().absolute()


def find_engine():
    """The engine of this machine.

    Raises:
        NoEngineError: Neither a Docker daemon nor podman answers.
    """
    docker = call(["docker", "version", "--format", "{{.Server.Version}}"], timeout=10)
    if docker.returncode == 0:
        return ContainerEngine("docker", {})
    podman = prepare_podman(state_folder())
    answer = podman.call("info", timeout=30)
    if answer.returncode == 0:
        return podman
    raise NoEngineError(f"no container engine: {last_line(docker.stderr)}; {last_line(answer.stderr)}")


def prepare_podman(state):
    """Podman with configuration, images and containers of its own, all in one folder."""
    storage = state / "storage"
    storage.mkdir(parents=True, exist_ok=True)
    # crun, the default, refuses some arrangements of cgroups that runc accepts.
    runtime = 'runtime = "runc"\n' if shutil.which("runc") or Path("/usr/sbin/runc").exists() else ""
    (state / "containers.conf").write_text(
        # Without limits of its own, a start may fail with "setrlimit: Operation not permitted".
        '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        f'[engine]\n{runtime}cgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    (state / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{storage / "graph"}"\nrunroot = "{storage / "run"}"\n'
    )
    variables = {
        "CONTAINERS_CONF": str(state / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(state / "storage.conf"),
        "BUILDAH_FORMAT": "docker",  # the default format has no HEALTHCHECK
    }
    return ContainerEngine("podman", variables)


@contextmanager
def open_socket(engine):
    """Yield the variables with which programs for Docker, such as testcontainers, talk to the engine."""
    if engine.command == "docker":
        yield {}
        return
    folder = Path(mkdtemp(prefix="anthem-engine-"))  # the path of a socket must be short
    address = f"unix://{folder}/podman.sock"
    words = ["podman", "system", "service", "--time=0", address]
    with subprocess.Popen(
        words, env=engine.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as socket:
        try:
            # podman 4 does not list the network that testcontainers would look for.
            yield {
                "DOCKER_HOST": address,
                "TESTCONTAINERS_RYUK_DISABLED": "true",
                "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
            }
        finally:
            socket.terminate()
            socket.wait()
            shutil.rmtree(folder)


def install_podman():
    """Install podman with apt. The time for what needs the network is short; dpkg must not be stopped half-way.

    Raises:
        NoEngineError: This is not possible here.
    """
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoEngineError("podman can be installed only by root, with apt")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    options = ["-o", "DPkg::Lock::Timeout=30", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "-q"]
    install = ["install", "--yes", *PODMAN_PACKAGES]
    for words, timeout in (
        (["update"], DOWNLOAD_TIMEOUT_SECONDS),
        ([*install, "--download-only"], DOWNLOAD_TIMEOUT_SECONDS),
        (install, INSTALL_TIMEOUT_SECONDS),
    ):
        done = call(["apt-get", *options, *words], timeout, env=environment)
        if done.returncode != 0:
            raise NoEngineError(f"apt-get {words[0]} failed: {last_line(done.stderr)}")


def main():
    """Say which engine this machine has, installing podman if it has none; exit code 1 if that fails."""
    try:
        try:
            engine = find_engine()
        except NoEngineError:
            install_podman()
            engine = find_engine()
    except NoEngineError as error:
        sys.exit(f"containers: {error}")
    print(f"containers: {engine.command}")  # noqa: T201 (a script)


if __name__ == "__main__":
    main()
