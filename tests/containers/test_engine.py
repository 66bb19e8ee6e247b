"""The choice of the container engine, and what happens where there is none: fakes stand for the programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from containers import engine, images
from containers.engine import NoEngineError, find_engine, install_podman, open_socket

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Function that puts a program of this name and this shell code before all others, or hides it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ANTHEM_CONTAINERS", str(tmp_path / "state"))

    def put(name, code):
        (folder / name).write_text(f"#!/bin/sh\n{code}\n")
        (folder / name).chmod(0o755)

    return put


def test_docker_comes_first_if_its_daemon_answers(fake, tmp_path):
    """A Docker daemon is used as it is: no variable is set, and no folder written."""
    fake("docker", "exit 0")
    fake("podman", "exit 0")
    found = find_engine()
    assert (found.command, found.variables) == ("docker", {})
    assert not (tmp_path / "state").exists()
    with open_socket(found) as variables:
        assert variables == {}


def test_podman_is_used_where_no_daemon_answers(fake, tmp_path):
    """A Docker client alone is not enough; podman then keeps images and containers in a folder of its own."""
    fake("docker", "echo no daemon >&2; exit 1")
    fake("podman", 'test "$1" = info && cat "$CONTAINERS_CONF" "$CONTAINERS_STORAGE_CONF"')
    found = find_engine()
    assert found.command == "podman"
    configuration = found.call("info").stdout
    assert "default_ulimits" in configuration
    assert f'graphroot = "{tmp_path}/state/storage/graph"' in configuration


def test_without_an_engine_both_reasons_are_named(fake):
    """If neither answers, the error gives what each program said last."""
    fake("docker", "echo 'is the daemon running?' >&2; exit 1")
    fake("podman", "echo first >&2; echo 'cannot clone: not permitted' >&2; exit 125")
    with pytest.raises(NoEngineError, match=r"is the daemon running\?; cannot clone: not permitted$"):
        find_engine()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("echo 'E: Unable to fetch some archives' >&2; exit 100", "apt-get update failed: E: Unable to fetch"),
        ('case "$*" in *install*) echo "E: No space left" >&2; exit 100;; esac', "apt-get install failed: E: No space"),
        ("exec sleep 60", "apt-get update failed: apt-get did not end within 1 s"),
    ],
)
def test_an_installation_that_fails_or_hangs_says_so(fake, monkeypatch, code, message):
    """If apt fails or does not end in time, the error gives the step and the last line of its output."""
    monkeypatch.setattr(engine, "DOWNLOAD_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    fake("apt-get", code)
    with pytest.raises(NoEngineError, match=message):
        install_podman()


def test_only_root_installs(fake, monkeypatch):
    """Another user than root installs nothing."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    fake("apt-get", "exit 0")
    with pytest.raises(NoEngineError, match="only by root, with apt"):
        install_podman()


@pytest.mark.parametrize("status", [0, 3])
def test_the_checks_run_without_an_engine(fake, status):
    """Where no engine can be had, `.ci/run` gives the reason and the free space, runs the tests and ends as they do."""
    fake("docker", "exit 1")
    fake("podman", "exit 1")
    fake("apt-get", "echo 'E: no network' >&2; exit 100")
    fake("make", f'echo "make $*"; exit {status}')
    done = subprocess.run([ROOT / ".ci" / "run"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "make test\n")
    reason, header, *disks = done.stderr.splitlines()
    assert reason.startswith("containers: ")
    assert "Avail" in header
    assert len(disks) == 2


def test_the_engine_is_found_before_anything_is_installed():
    """The script that `.ci/run` calls imports the standard library alone."""
    code = "import runpy, sys; runpy.run_path('tests/containers/engine.py'); print(*sys.modules)"
    words = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in done.stdout.split()} <= {*sys.stdlib_module_names, "__main__"}


def test_debian_comes_from_the_mirror_of_apt(fake):
    """The first whole Debian that apt is configured with is used, not its updates or security fixes."""
    suites = ("trixie-security", "trixie-updates", "trixie", "sid")
    fake("apt-get", "\n".join(f"echo http://mirror.test/{suite} {suite}" for suite in suites))
    assert images.read_mirror() == ("http://mirror.test/trixie", "trixie")
    fake("apt-get", "exit 0")
    with pytest.raises(NoEngineError, match="no Debian mirror"):
        images.read_mirror()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ["-Xms1g", "-Xmx1g"]),
        ({"OPENSEARCH_JAVA_OPTS": "-Xms512m  -Xmx600m"}, ["-Xms512m", "-Xmx600m"]),
        (
            {"cluster.name": "my shop = 1", "a_b.c2": ""},
            ["-Xms1g", "-Xmx1g", "-Ecluster.name=my shop = 1", "-Ea_b.c2="],
        ),
        ({"plugins.security.disabled": "true", "DISABLE_SECURITY_PLUGIN": "true", "A.b": "c"}, ["-Xms1g", "-Xmx1g"]),
    ],
)
def test_variables_with_a_dot_become_settings(tmp_path, variables, expected):
    """The entry script of the image makes a setting of each variable with a dot, except those of the missing plugin."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    java.chmod(0o755)
    script = (images.RECIPES / "opensearch" / "entrypoint.sh").read_text().replace("/opt/jdk/bin/java", str(java))
    environment = {"PATH": os.defpath} | variables
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    arguments = done.stdout.splitlines()
    assert arguments[0] == f"@{images.HOME_IN_IMAGE}/java-arguments"
    main = arguments.index("org.opensearch.bootstrap.OpenSearch")
    assert sorted(arguments[1:main] + arguments[main + 1 :]) == sorted(expected)


@pytest.mark.parametrize("label", ["", "<no value>", "an older recipe"])
def test_an_image_is_kept_unless_its_recipe_changed(fake, label):
    """A pulled image has no recipe and is kept; one that was built here is built again when its recipe changes."""
    fake("docker", f"echo '{label}'")
    assert images.is_current(find_engine(), "image") is (label != "an older recipe")
    fake("docker", f"echo '{images.hash_recipe()}'")
    assert images.is_current(find_engine(), "image")


def test_a_failed_build_gives_the_last_line(fake, tmp_path):
    """If an image cannot be built, the error names it and what the engine said, and the build's folder is removed."""
    fake("docker", 'test "$1" != build || { echo "no space left on device" >&2; exit 1; }')
    (tmp_path / "context").mkdir()
    with pytest.raises(NoEngineError, match="docker cannot build shop:1: no space left on device"):
        images.build(find_engine(), "shop:1", tmp_path / "context")
    assert not (tmp_path / "context").exists()


def test_a_bootstrap_that_is_stopped_leaves_nothing(fake, tmp_path, wait_until):
    """If debootstrap takes too long, its processes end, and nothing stays mounted where the folder is removed."""
    root, marker = tmp_path / "rootfs", tmp_path / "pid"
    if engine.call(["unshare", "--mount", "true"], 10).returncode != 0:
        pytest.skip("mounting needs root")
    fake("apt-get", "echo http://mirror.test/ bookworm")
    fake("debootstrap", f"mkdir {root}; mount -t tmpfs none {root}; touch {marker}; sleep 987654 & wait")
    with pytest.raises(NoEngineError, match=r"debootstrap failed: .* did not end within 2 s"):
        images.bootstrap_debian(root, 2)
    assert marker.exists()
    assert not root.is_mount()
    wait_until(lambda: "987654" not in engine.call(["ps", "-eo", "args"], 10).stdout)
