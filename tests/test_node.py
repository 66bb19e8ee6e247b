"""Parts of the local node: lock, Java, layout, diagnosis, ports, homes, processes, commands."""

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

from anthem_core.artifact_cache import Artifact
from anthem_core.errors import NodeError
from anthem_core.opensearch.local_node import STATE_FILE, home_argument, is_node_of_home, local_node_url, read_state
from anthem_sandbox.node import lifecycle, system
from anthem_sandbox.node.cli import node
from anthem_sandbox.node.diagnosis import KNOWN_CAUSES, crash_report, diagnose_log, last_lines
from anthem_sandbox.node.java import find_java, parse_java_version
from anthem_sandbox.node.layout import (
    build_java_command,
    build_node_settings,
    format_opensearch_yml,
    lay_out_home,
    plugin_descriptor,
)
from anthem_sandbox.node.lock import KNN_FOLDER, format_lock, load_lock
from anthem_sandbox.node.releases import (
    DEFAULT_RELEASE,
    NODE_RELEASES,
    OPENSEARCH_2,
    OPENSEARCH_3,
    REQUIRED_JAVA_MODULES,
    JavaRequirement,
    find_node_release,
)

CONTENT = b"content of a jar" * 200
JAR = Artifact("org.toy", "toy", "1.0", "jar", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), ("lib",))


def fake_java(folder: Path, version: str, modules: str = "") -> Path:
    """A program that answers like a Java of this version with these modules."""
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
    """The lock has the files of every module, the agent, the engine and the k-NN plugin, each with a SHA-256."""
    artifacts = load_lock(release.version)
    folders = {name for artifact in artifacts for name in artifact.into}
    agent_folder = {"agent"} if release.agent else set()
    assert folders == {"lib", *agent_folder, KNN_FOLDER, *(f"modules/{module.name}" for module in release.modules)}
    assert all(len(artifact.sha256) == 64 and artifact.size > 0 for artifact in artifacts)
    coordinates = {artifact.coordinate for artifact in artifacts}
    assert {f"org.opensearch:opensearch:{release.version}", *release.agent} <= coordinates
    assert f"org.opensearch.plugin:opensearch-knn:{release.knn_version}" in coordinates


def test_a_file_name_identifies_one_file():
    """Artifacts with the same file name are the same file; otherwise one would overwrite the other."""
    artifacts = [artifact for version in NODE_RELEASES for artifact in load_lock(version)]
    assert len({file.filename for file in artifacts}) == len({(file.filename, file.sha256) for file in artifacts})
    for version in NODE_RELEASES:
        names = [artifact.filename for artifact in load_lock(version)]
        assert len(names) == len(set(names))


@EACH_RELEASE
def test_lock_round_trip(release):
    """A lock that is written and read again is unchanged, and equals the file in the package."""
    artifacts = load_lock(release.version)
    text = format_lock(artifacts, release.version)
    rows = json.loads(text)["artifacts"]
    assert tuple(Artifact(**{**row, "into": tuple(row["into"])}) for row in rows) == artifacts
    locks = Path(lifecycle.__file__).parent / "locks"
    assert text == (locks / f"{release.version}.json").read_text(encoding="utf-8")


def test_unknown_release_is_an_error_with_the_known_ones():
    """A release that is not available is an error that lists the available ones; no version means the default."""
    with pytest.raises(
        NodeError, match=r"OpenSearch 1\.0\.0 is not available as a local node; expected one of 3\.6\.0, 2\.19\.1"
    ):
        find_node_release("1.0.0")
    assert find_node_release(None) is DEFAULT_RELEASE
    assert [find_node_release(version).version for version in NODE_RELEASES] == list(NODE_RELEASES)


def test_releases_do_not_share_a_home():
    """Each release has its own home, so that two can run at the same time and neither reads the data of the other."""
    assert len({system.release_home(release) for release in NODE_RELEASES.values()}) == len(NODE_RELEASES)


# Java


@pytest.mark.parametrize(("text", "version"), [("1.8.0_402", 8), ("17.0.15", 17), ("21", 21), ("25.0.3", 25)])
def test_java_version(text, version):
    """The major version is read from every format of Java version strings."""
    assert parse_java_version(f'openjdk version "{text}" 2025-01-01') == version


def test_unsuitable_java_is_an_error_that_says_what_to_install(tmp_path, monkeypatch):
    """If only a Java 17 and a trimmed Java 21 are found, the error names both and says what to install."""
    old = fake_java(tmp_path / "old", "17.0.15")
    trimmed = fake_java(tmp_path / "trimmed", "21.0.2", r"java.base@21\njava.instrument@21\n")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    with pytest.raises(NodeError) as error:
        find_java([old, trimmed, tmp_path / "none"])
    message = str(error.value)
    assert f"{old} (Java 17)" in message
    assert "trimmed runtime without java.management, jdk.incubator.vector, jdk.localedata, jdk.net" in message
    assert "OPENSEARCH_JAVA_HOME" in message


def test_missing_java_is_an_error_that_says_what_to_install():
    """If no Java is found, the error says what to install."""
    with pytest.raises(NodeError, match=r"found: no Java\. Install one"):
        find_java([])


def test_a_java_that_lists_no_modules_is_not_called_trimmed(tmp_path):
    """A Java that was too slow to list its modules is used: nothing is known to be missing."""
    silent = fake_java(tmp_path / "silent", "21.0.2")
    assert find_java([silent]) == silent


def test_first_suitable_java_is_used(tmp_path):
    """An old Java earlier in the list does not hide a suitable one."""
    modules = r"\n".join(f"{name}@21" for name in sorted(REQUIRED_JAVA_MODULES))
    suitable = fake_java(tmp_path / "suitable", "21.0.2", modules)
    assert find_java([fake_java(tmp_path / "old", "17.0.1"), suitable]) == suitable


def test_each_release_finds_its_java(tmp_path):
    """2.19 needs Java 17 to 23, which have a security manager, and 3.x needs Java 21 or newer."""
    modules = r"\n".join(f"{name}@1" for name in sorted(REQUIRED_JAVA_MODULES))
    commands = [fake_java(tmp_path / version, version, modules) for version in ("11", "17", "25")]
    assert find_java(commands, OPENSEARCH_2) == commands[1]
    assert find_java(commands, OPENSEARCH_3) == commands[2]
    with pytest.raises(NodeError, match=r"2\.19\.1 needs a full JDK, 17 to 23; found: .*Java 11.*Java 25"):
        find_java([commands[0], commands[2]], OPENSEARCH_2)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_a_java_requirement_is_a_range(oldest, newest, version):
    """Versions from the oldest to the newest are accepted, both included."""
    assert JavaRequirement(oldest, newest).accepts(version) == (oldest <= version <= newest)
    assert JavaRequirement(oldest).accepts(version) == (oldest <= version)


# Layout


@given(st.dictionaries(st.from_regex(r"[a-z.]+", fullmatch=True), st.text(max_size=20), max_size=5))
def test_each_setting_is_one_line(settings):
    """Each setting is one line whose value JSON reads back unchanged, whatever the value contains."""
    lines = format_opensearch_yml(settings).splitlines() if settings else []
    assert {key: json.loads(value) for key, value in (line.split(": ", 1) for line in lines)} == settings


def test_settings_of_the_caller_take_precedence():
    """A caller's setting overrides the default, as a cluster of several nodes requires."""
    settings = build_node_settings(1, 2, {"discovery.type": "zen"})
    assert settings["discovery.type"] == "zen"
    assert (settings["http.port"], settings["transport.port"]) == ("1", "2")
    assert build_node_settings(1, 2)["network.host"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("release", "module"),
    [
        pytest.param(release, module, id=f"{module.name}-{release.version}")
        for release in NODE_RELEASES.values()
        for module in release.modules
    ],
)
def test_descriptors_extend_existing_modules(release, module):
    """Every descriptor has the keys that OpenSearch requires, and extends only modules of the same release."""
    properties = dict(line.split("=", 1) for line in plugin_descriptor(module, release).splitlines())
    assert properties["classname"] == module.classname
    assert properties["version"] == properties["opensearch.version"] == release.version
    assert properties["extended.plugins"] in {"", *(other.name for other in release.modules)}
    assert set(release.policies) <= {other.name for other in release.modules}


def test_layout_replaces_the_program_and_keeps_the_data(tmp_path):
    """Files are in all their folders and readable by every user; a second layout replaces them and keeps the data."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / JAR.filename).write_bytes(CONTENT)
    (tmp_path / "cache" / JAR.filename).chmod(0o600)
    jars = [
        Artifact(**{**vars(JAR), "into": ("lib", *(f"modules/{module.name}" for module in DEFAULT_RELEASE.modules))})
    ]
    home = tmp_path / "home"
    home.mkdir()
    lay_out_home(home, jars, tmp_path / "cache", build_node_settings(1, 2))
    (home / "data" / "kept").write_text("x")
    (home / "lib" / "stale.jar").write_text("x")
    lay_out_home(home, jars, tmp_path / "cache", build_node_settings(3, 4))
    assert (home / "data" / "kept").exists()
    assert [path.name for path in (home / "lib").iterdir()] == [JAR.filename]
    assert (home / "lib" / JAR.filename).stat().st_mode & 0o777 == 0o644
    assert 'http.port: "3"' in (home / "config" / "opensearch.yml").read_text()
    assert "SocketPermission" in (home / "modules" / "transport-netty4" / "plugin-security.policy").read_text()


# Diagnosis


@pytest.mark.parametrize(
    ("line", "advice"),
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
def test_known_causes_have_a_fix(line, advice):
    """A known line of a log leads to a report with the line and the fix, without the stack trace."""
    report = crash_report(f"[INFO] starting\n{line}\n\tat org.opensearch.Deep.stack(Trace.java)\n")
    assert advice in report
    assert line[:100] in report
    assert "Trace.java" not in report


def test_unknown_causes_show_the_log():
    """A log without a known cause gives no diagnosis, only its last lines."""
    assert diagnose_log("something else") is None
    assert last_lines("\n".join(map(str, range(50))), 2) == "  48\n  49"
    assert len({text for _, text in KNOWN_CAUSES}) == len(KNOWN_CAUSES)


# Ports, homes, processes


def test_port_in_use_is_an_error():
    """A port that another program uses is refused with the fix, before anything is started."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(NodeError, match=f"Port {port} is not available.*--port"):
            system.find_free_port(port)
    assert system.find_free_port(port) == port


def test_home_writable_by_others_is_refused(tmp_path):
    """A home that others can write to is refused: they could place programs in it that the node would run."""
    tmp_path.chmod(0o777)
    with pytest.raises(NodeError, match="only you can write to"):
        system.prepare_home(tmp_path)


def test_symbolic_link_as_home_is_refused(tmp_path):
    """A home that is a symbolic link is refused."""
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(NodeError, match="only you can write to"):
        system.prepare_home(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the node as another user")
def test_inaccessible_home_of_root_is_refused(tmp_path):
    """For root, a home that the node's user cannot reach is an error."""
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(NodeError, match=r"not accessible to the user `nobody`"):
        system.prepare_home(tmp_path / "closed" / "home")


def test_stale_state_is_detected(tmp_path):
    """If another program now has the recorded process number, it is not mistaken for the node, and never stopped."""
    with subprocess.Popen(["sleep", "20"]) as other:
        (tmp_path / STATE_FILE).write_text(json.dumps({"pid": other.pid, "port": 1}))
        status = lifecycle.get_node_status(tmp_path)
        stopped = lifecycle.stop_node(tmp_path)
        still_runs = other.poll() is None
        other.kill()
    assert (status.running, stopped, still_runs) == (False, False, True)
    assert "without being stopped" in status.note
    assert lifecycle.get_node_status(tmp_path).note == ""


def test_process_is_identified_by_its_home(tmp_path):
    """A process is the node of a home only if its command line contains exactly that home."""
    with subprocess.Popen(["sh", "-c", "sleep 20; :", home_argument(tmp_path)], start_new_session=True) as process:
        time.sleep(0.2)  # its command line appears a moment after its start
        matches = [is_node_of_home(home, process.pid) for home in (tmp_path, tmp_path / "other")]
        os.killpg(process.pid, 9)
    assert matches == [True, False]
    assert not is_node_of_home(tmp_path, process.pid)


@pytest.mark.parametrize("state", [None, "", "[]", "{}", '{"pid": 1}', '{"pid": "x", "port": 1}'])
def test_an_unreadable_state_file_means_no_node(tmp_path, state):
    """A state file that is missing, damaged or incomplete is read as None."""
    if state is not None:
        (tmp_path / STATE_FILE).write_text(state)
    assert read_state(tmp_path) is None


def test_core_and_sandbox_find_the_same_node(tmp_path, monkeypatch):
    """`connect` finds the default node at the URL that `anthem node status` prints, and no node after it ended."""
    monkeypatch.setattr("anthem_core.opensearch.local_node.homes_folder", lambda: tmp_path)
    assert local_node_url() is lifecycle.get_node_status().url is None
    home = system.release_home()
    home.mkdir()
    with subprocess.Popen(["sh", "-c", "sleep 20; :", home_argument(home)], start_new_session=True) as process:
        (home / STATE_FILE).write_text(json.dumps({"pid": process.pid, "port": 9201}))
        time.sleep(0.2)  # its command line appears a moment after its start
        urls = [local_node_url(), lifecycle.get_node_status().url]
        os.killpg(process.pid, 9)
    assert urls == ["http://127.0.0.1:9201"] * 2
    assert local_node_url() is lifecycle.get_node_status().url is None


def test_a_running_node_of_another_release_is_an_error(tmp_path):
    """If the home runs another release than the requested one, that is an error."""
    running = lifecycle.NodeStatus(True, "http://127.0.0.1:1", 1, OPENSEARCH_3.version, tmp_path)
    assert lifecycle._check_release(running, OPENSEARCH_3) is running
    with pytest.raises(NodeError, match=r"3\.6\.0 already runs in .*; expected 2\.19\.1\. Stop it first"):
        lifecycle._check_release(running, OPENSEARCH_2)


def test_command_line_identifies_the_home(tmp_path):
    """The command line of a node contains the argument that identifies its process."""
    command = build_java_command(Path("/j/bin/java"), tmp_path, "512m")
    assert home_argument(tmp_path) in command
    assert "-Xmx512m" in command


@EACH_RELEASE
def test_each_release_has_one_guard(release, tmp_path):
    """Every node has exactly one guard: 3.x uses an agent, 2.x uses the JVM's security manager."""
    command = " ".join(build_java_command(Path("/j/bin/java"), tmp_path, "512m", release))
    assert ("-javaagent:" in command) == bool(release.agent)
    assert ("-Djava.security.manager=allow" in command) != bool(release.agent)


# The commands


def test_status_and_stop_without_a_node(tmp_path):
    """If no node runs, `status` reports that and exits 1; `stop` does nothing and exits 0."""
    status = CliRunner().invoke(node, ["status", "--json", "--home", str(tmp_path)])
    assert status.exit_code == 1
    assert json.loads(status.stdout)["running"] is False
    stop = CliRunner().invoke(node, ["stop", "--json", "--home", str(tmp_path)])
    assert (stop.exit_code, json.loads(stop.stdout)) == (0, {"stopped": False})


@pytest.mark.parametrize("command", [[], ["start"], ["stop"], ["status"], ["lock"]])
def test_help_has_an_example(command):
    """Every command shows an example in its help."""
    result = CliRunner().invoke(node, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output
