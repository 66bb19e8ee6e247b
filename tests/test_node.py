"""The parts of the local node: lock, Java, layout, diagnosis, ports, homes, processes, commands."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import NodeError
from anthem_sandbox.node import lifecycle, system
from anthem_sandbox.node.cli import node
from anthem_sandbox.node.diagnosis import KNOWN_CAUSES, crash_report, diagnose_log, last_lines
from anthem_sandbox.node.java import find_java, parse_java_version
from anthem_sandbox.node.layout import (
    build_java_command,
    build_node_settings,
    format_opensearch_yml,
    home_argument,
    lay_out_home,
    plugin_descriptor,
)
from anthem_sandbox.node.lock import KNN_FOLDER, Artifact, format_lock, load_lock
from anthem_sandbox.node.releases import (
    DEFAULT_RELEASE,
    NODE_RELEASES,
    OPENSEARCH_2,
    OPENSEARCH_3,
    REQUIRED_JAVA_MODULES,
    JavaRequirement,
    find_node_release,
)

CONTENT = b"a jar, as far as anyone can tell" * 100
TOY = Artifact("org.toy", "toy", "1.0", "jar", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), ("lib",))


def fake_java(folder: Path, version: str, modules: str = "") -> Path:
    """A program that answers as a Java of this version with these modules would."""
    command = folder / "bin" / "java"
    command.parent.mkdir(parents=True)
    command.write_text(
        f"#!/bin/sh\ncase $1 in\n-version) echo 'openjdk version \"{version}\" 2025-01-01' >&2 ;;\n"
        f"--list-modules) printf '{modules}' ;;\nesac\n"
    )
    command.chmod(0o755)
    return command


# The lock


EACH_RELEASE = pytest.mark.parametrize("release", NODE_RELEASES.values(), ids=list(NODE_RELEASES))


@EACH_RELEASE
def test_lock_is_complete(release):
    """Every module, the agent, the engine and the k-NN plugin have their files in the lock, each with a SHA-256."""
    artifacts = load_lock(release.version)
    folders = {name for one in artifacts for name in one.into}
    guards = {"agent"} if release.agent else set()
    assert folders == {"lib", *guards, KNN_FOLDER, *(f"modules/{module.name}" for module in release.modules)}
    assert all(len(one.sha256) == 64 and one.size > 0 for one in artifacts)
    coordinates = {one.coordinate for one in artifacts}
    assert {f"org.opensearch:opensearch:{release.version}", *release.agent} <= coordinates
    assert f"org.opensearch.plugin:opensearch-knn:{release.knn}" in coordinates


def test_locks_have_one_file_a_name():
    """Artifacts that share a file name are the same file, or one would overwrite the other in the cache or a home."""
    artifacts = [one for version in NODE_RELEASES for one in load_lock(version)]
    assert len({one.filename for one in artifacts}) == len({(one.filename, one.sha256) for one in artifacts})
    for version in NODE_RELEASES:
        names = [one.filename for one in load_lock(version)]
        assert len(names) == len(set(names))


@EACH_RELEASE
def test_lock_survives_writing(release):
    """Writing a lock and reading it back changes nothing, and the file in the package is what is written."""
    artifacts = load_lock(release.version)
    text = format_lock(artifacts, release.version)
    rows = json.loads(text)["artifacts"]
    assert tuple(Artifact(**{**row, "into": tuple(row["into"])}) for row in rows) == artifacts
    locks = Path(lifecycle.__file__).parent / "locks"
    assert text == (locks / f"{release.version}.json").read_text(encoding="utf-8")


def test_unknown_release_is_named_with_those_there_are():
    """A release that cannot be started is refused with the ones that can; without a name it is the default."""
    with pytest.raises(NodeError, match=r"no local node of OpenSearch 1\.0\.0; there is one of 3\.6\.0, 2\.19\.1"):
        find_node_release("1.0.0")
    assert find_node_release(None) is DEFAULT_RELEASE
    assert [find_node_release(version).version for version in NODE_RELEASES] == list(NODE_RELEASES)


def test_releases_do_not_share_a_home():
    """Each release has a home of its own, so that two run side by side and no data is read by the wrong one."""
    assert len({system.default_home(release) for release in NODE_RELEASES.values()}) == len(NODE_RELEASES)


# Java


@pytest.mark.parametrize(("told", "version"), [("1.8.0_402", 8), ("17.0.15", 17), ("21", 21), ("25.0.3", 25)])
def test_java_version(told, version):
    """The major version is read from all the ways Java has written it."""
    assert parse_java_version(f'openjdk version "{told}" 2025-01-01') == version


def test_old_java_is_named_with_the_cure(tmp_path, monkeypatch):
    """Where only a Java 17 and a trimmed 21 are found, the error names both and what to install."""
    old = fake_java(tmp_path / "old", "17.0.15")
    trimmed = fake_java(tmp_path / "trimmed", "21.0.2", r"java.base@21\njava.instrument@21\n")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    with pytest.raises(NodeError) as caught:
        find_java([old, trimmed, tmp_path / "none"])
    message = str(caught.value)
    assert f"{old} (Java 17)" in message
    assert "trimmed runtime without java.management, jdk.incubator.vector, jdk.localedata, jdk.net" in message
    assert "OPENSEARCH_JAVA_HOME" in message


def test_no_java_is_named_with_the_cure():
    """Without any Java the error says so and what to install."""
    with pytest.raises(NodeError, match=r"found: no Java at all.*Install one"):
        find_java([])


def test_first_suiting_java_is_taken(tmp_path):
    """An old Java in front does not hide a good one behind it."""
    modules = r"\n".join(f"{name}@21" for name in sorted(REQUIRED_JAVA_MODULES))
    good = fake_java(tmp_path / "good", "21.0.2", modules)
    assert find_java([fake_java(tmp_path / "old", "17.0.1"), good]) == good


def test_each_release_takes_its_java(tmp_path):
    """2.19 runs on Java 17 to 23, which have a security manager, 3.x on 21 and newer; each finds its own."""
    modules = r"\n".join(f"{name}@1" for name in sorted(REQUIRED_JAVA_MODULES))
    commands = [fake_java(tmp_path / version, version, modules) for version in ("11", "17", "25")]
    assert find_java(commands, OPENSEARCH_2) == commands[1]
    assert find_java(commands, OPENSEARCH_3) == commands[2]
    with pytest.raises(NodeError, match=r"2\.19\.1 needs a full JDK, 17 to 23; found: .*Java 11.*Java 25"):
        find_java([commands[0], commands[2]], OPENSEARCH_2)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_a_need_of_java_is_a_range(oldest, newest, version):
    """A Java is taken from the oldest to the newest version that a release runs on."""
    assert JavaRequirement(oldest, newest).takes(version) == (oldest <= version <= newest)
    assert JavaRequirement(oldest).takes(version) == (oldest <= version)


# Layout


@given(st.dictionaries(st.from_regex(r"[a-z.]+", fullmatch=True), st.text(max_size=20), max_size=5))
def test_settings_stay_one_a_line(settings):
    """Whatever a value holds, each setting is one line whose value JSON reads back unchanged."""
    lines = format_opensearch_yml(settings).splitlines() if settings else []
    assert {key: json.loads(value) for key, value in (line.split(": ", 1) for line in lines)} == settings


def test_settings_of_the_caller_win():
    """A caller's setting overrides the usual one: the door to several nodes stays open."""
    settings = build_node_settings(1, 2, {"discovery.type": "zen"})
    assert settings["discovery.type"] == "zen"
    assert (settings["http.port"], settings["transport.port"]) == ("1", "2")
    assert build_node_settings(1, 2)["network.host"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("release", "module"),
    [
        pytest.param(one, module, id=f"{module.name}-{one.version}")
        for one in NODE_RELEASES.values()
        for module in one.modules
    ],
)
def test_descriptors_name_what_they_extend(release, module):
    """Every descriptor has all keys OpenSearch asks for, and extends only modules that are there."""
    lines = dict(line.split("=", 1) for line in plugin_descriptor(module, release).splitlines())
    assert lines["classname"] == module.classname
    assert lines["version"] == lines["opensearch.version"] == release.version
    assert lines["extended.plugins"] in {"", *(other.name for other in release.modules)}
    assert set(release.policies) <= {other.name for other in release.modules}


def test_layout_shares_and_shields(tmp_path):
    """Files lie in all their folders, readable by all; a second start renews them and leaves the data alone."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / TOY.filename).write_bytes(CONTENT)
    (tmp_path / "cache" / TOY.filename).chmod(0o600)
    toys = [
        Artifact(**{**vars(TOY), "into": ("lib", *(f"modules/{module.name}" for module in DEFAULT_RELEASE.modules))})
    ]
    home = tmp_path / "home"
    home.mkdir()
    lay_out_home(home, toys, tmp_path / "cache", build_node_settings(1, 2))
    (home / "data" / "kept").write_text("x")
    (home / "lib" / "stale.jar").write_text("x")
    lay_out_home(home, toys, tmp_path / "cache", build_node_settings(3, 4))
    assert (home / "data" / "kept").exists()
    assert [path.name for path in (home / "lib").iterdir()] == [TOY.filename]
    assert (home / "lib" / TOY.filename).stat().st_mode & 0o777 == 0o644
    assert 'http.port: "3"' in (home / "config" / "opensearch.yml").read_text()
    assert "SocketPermission" in (home / "modules" / "transport-netty4" / "plugin-security.policy").read_text()


# Diagnosis


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("java.lang.UnsatisfiedLinkError: no opensearchknn_faiss_avx512 in java.library.path", "--fresh"),
        (
            "BindHttpException[Failed to bind to 127.0.0.1:9200]; nested: BindException[Address already in use]",
            "--port",
        ),
        ("java.io.IOException: No space left on device", "disk is full"),
        ("Could not reserve enough space for 900000000KB object heap", "--heap"),
        ("Invalid maximum heap size: -Xmxtiny", "--heap"),
        ("failed to obtain node locks, tried [/x]", "stop"),
        ("java.lang.IllegalArgumentException: indexCreatedVersionMajor is in the future: 10", "another release"),
    ],
)
def test_known_deaths_have_a_cure(line, word):
    """Every known line of a log leads to a sentence with the cure, and the line is shown."""
    told = crash_report(f"[INFO] starting\n{line}\n\tat org.opensearch.Deep.stack(Trace.java)\n")
    assert word in told
    assert line[:100] in told
    assert "Trace.java" not in told


def test_unknown_death_shows_the_log():
    """A log that names nothing known gives no cure, but its last lines."""
    assert diagnose_log("something else") is None
    assert last_lines("\n".join(map(str, range(50))), 2) == "  48\n  49"
    assert len({text for _, text in KNOWN_CAUSES}) == len(KNOWN_CAUSES)


# Ports, homes, processes


def test_port_in_use_is_a_clear_error():
    """A port that somebody listens on is refused with the cure, before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NodeError, match=f"port {port} cannot be had.*--port"):
            system.find_free_port(port)
    assert system.find_free_port(port) == port


def test_home_of_others_is_refused(tmp_path):
    """A home that others may write into is refused: they could put programs there that we would run."""
    tmp_path.chmod(0o777)
    with pytest.raises(NodeError, match="only you can write"):
        system.prepare_home(tmp_path)


def test_home_behind_a_link_is_refused(tmp_path):
    """A symbolic link where the home should be is refused."""
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(NodeError, match="only you can write"):
        system.prepare_home(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the node over to another user")
def test_closed_home_of_root_is_refused(tmp_path):
    """Root is told when the node's user could not reach the home."""
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(NodeError, match=r"closed to the user `nobody`"):
        system.prepare_home(tmp_path / "closed" / "home")


def test_stale_state_is_noticed(tmp_path):
    """A process number that another program uses now is not taken for the node, and never stopped."""
    with subprocess.Popen(["sleep", "20"]) as other:
        (tmp_path / lifecycle.STATE_FILE).write_text(json.dumps({"pid": other.pid, "port": 1}))
        told = lifecycle.get_node_status(tmp_path)
        stopped = lifecycle.stop_node(tmp_path)
        spared = other.poll() is None
        other.kill()
    assert (told.running, stopped, spared) == (False, False, True)
    assert "without being stopped" in told.note
    assert lifecycle.get_node_status(tmp_path).note == ""


def test_process_is_known_by_its_home(tmp_path):
    """A process is the node of a home only when its command line names exactly that home."""
    with subprocess.Popen(["sh", "-c", "sleep 20; :", home_argument(tmp_path)], start_new_session=True) as named:
        time.sleep(0.2)  # its command line stands a moment after its start
        known = [system.is_node_of_home(home, named.pid) for home in (tmp_path, tmp_path / "other")]
        os.killpg(named.pid, 9)
    assert known == [True, False]
    assert not system.is_node_of_home(tmp_path, named.pid)


def test_a_node_of_another_release_is_not_taken_for_the_wanted_one(tmp_path):
    """Where a home runs another release than the wanted one, that is said, not passed over."""
    there = lifecycle.NodeStatus(True, "http://127.0.0.1:1", 1, OPENSEARCH_3.version, tmp_path)
    assert lifecycle._check_release(there, OPENSEARCH_3) is there
    with pytest.raises(NodeError, match=r"3\.6\.0 runs in .*, 2\.19\.1 was wanted; stop it first"):
        lifecycle._check_release(there, OPENSEARCH_2)


def test_command_names_its_home(tmp_path):
    """The command line of a node is one by which its process is found again."""
    command = build_java_command(Path("/j/bin/java"), tmp_path, "512m")
    assert home_argument(tmp_path) in command
    assert "-Xmx512m" in command


@EACH_RELEASE
def test_each_release_is_guarded(release, tmp_path):
    """A node never runs unguarded: 3.x brings an agent, 2.x leans on the JVM's security manager; none has both."""
    command = " ".join(build_java_command(Path("/j/bin/java"), tmp_path, "512m", release))
    assert ("-javaagent:" in command) == bool(release.agent)
    assert ("-Djava.security.manager=allow" in command) != bool(release.agent)


# The commands


def test_status_of_nothing(tmp_path):
    """Where no node runs, `status` says so in text and JSON, and exits 1; `stop` has nothing to do and exits 0."""
    status = CliRunner().invoke(node, ["status", "--json", "--home", str(tmp_path)])
    assert status.exit_code == 1
    assert json.loads(status.stdout)["running"] is False
    stop = CliRunner().invoke(node, ["stop", "--json", "--home", str(tmp_path)])
    assert (stop.exit_code, json.loads(stop.stdout)) == (0, {"stopped": False})


@pytest.mark.parametrize("command", [[], ["start"], ["stop"], ["status"], ["lock"]])
def test_help_has_an_example(command):
    """Every command shows an example in its help."""
    told = CliRunner().invoke(node, [*command, "--help"])
    assert told.exit_code == 0
    assert "Example:" in told.output
