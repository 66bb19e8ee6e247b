"""Calls `docker compose` or podman-compose with the docker-compose.yml of this repository."""

import sys
from dataclasses import dataclass
from pathlib import Path

from containers.engine import ContainerEngine, NoEngineError, last_line

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_TIMEOUT_SECONDS, START_TIMEOUT_SECONDS = 900, 600
PROJECT_LABEL, SERVICE_LABEL = "com.docker.compose.project", "com.docker.compose.service"


@dataclass(frozen=True)
class ComposeProject:
    """A project of its own name and ports, so that it meets no other."""

    engine: ContainerEngine
    name: str
    ports: dict[str, str]

    def compose(self, *words):
        """Run a command of compose, which must succeed."""
        done = self.engine.call(
            "-p", self.name, "-f", str(ROOT / "docker-compose.yml"), *words,
            program=find_compose(self.engine), timeout=COMPOSE_TIMEOUT_SECONDS, extra=self.ports, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, f"compose {' '.join(words)}:\n{done.stdout}\n{done.stderr}"

    def url(self, variable):
        """URL of a service by the variable that names its port."""
        return f"http://127.0.0.1:{self.ports[variable]}"

    def start(self, wait_until):
        """Start both services, the second as soon as the first is healthy, for which podman does not wait by itself."""
        self.compose("up", "-d", "opensearch")
        wait_until(lambda: self.is_healthy("opensearch"), START_TIMEOUT_SECONDS)
        self.compose("up", "-d", "--build")
        wait_until(lambda: self.is_healthy("anthem"), START_TIMEOUT_SECONDS)

    def container(self, service):
        """Id of the one container of a service."""
        (container,) = self.list_objects("ps", f"{SERVICE_LABEL}={service}")
        return container

    def is_healthy(self, service):
        """Whether the health check of a service succeeds. Without systemd podman runs none by itself."""
        container = self.container(service)
        if self.engine.command == "podman":
            return self.engine.call("healthcheck", "run", container).returncode == 0
        state = self.engine.call("inspect", "--format", "{{.State.Health.Status}}", container)
        return state.stdout.strip() == "healthy"

    def list_objects(self, kind, label=None):
        """Ids or names of the project's containers (`ps`, also stopped ones), volumes or networks."""
        words = {"ps": ["ps", "--all"]}.get(kind, [kind, "ls"])
        labels = [f"{PROJECT_LABEL}={self.name}", *([label] if label else [])]
        filters = [word for each in labels for word in ("--filter", f"label={each}")]
        return self.engine.call(*words, "--quiet", *filters).stdout.split()


def find_compose(engine):
    """The words that call compose.

    Raises:
        NoEngineError: Docker has no compose plugin.
    """
    if engine.command == "podman":
        return [str(Path(sys.executable).with_name("podman-compose"))]
    found = engine.call("compose", "version")
    if found.returncode != 0:
        raise NoEngineError(f"docker has no compose: {last_line(found.stderr)}")
    return ["docker", "compose"]
