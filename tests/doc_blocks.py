"""Code blocks of the documentation: reading them, and running them as a reader would."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from anthem_core.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = ROOT / "docs" / "reference"  # from help and docstrings, which test_docs_reference.py checks
# What a block may be. Those of the first line are run, and so is json that starts with a request line.
RUN_TAGS = {"sh", "console", "python"}
TEXT_TAGS = {"text", "json", "jsonl", "csv"}
# Why a block is not run. The line above it says so: *Not run by the tests: needs Docker.*
MARKS = (
    "needs Docker",
    "needs ml-commons",
    "needs the security plugin",
    "needs the extra clients",
    "needs the extra train",
    "takes more than 30 seconds",
    "changes this machine",
)
# The README has no room for these lines; the sentences below these blocks say what they take. By first command.
README_MARKS = {"make demo": "takes more than 30 seconds", "pip install '.[train]'": "needs the extra train"}
MARK = re.compile(r"\*Not run by the tests: (.+)\.\*")
FENCE = re.compile(r"```(\S*)$")
REQUEST_LINE = re.compile(r"(GET|PUT|POST|DELETE) /?(\S+)\n?")
PROMPT = "$ "
# These would touch the node, the caches or the images of the machine that runs the tests, or take minutes.
NEVER_RUN = ("node", "demo", "train", "export", "uninstall-data")
# Codes other than 0 with which a command ends well: `tune` kept the present weights.
GOOD_ENDINGS = {"tune": (0, 1)}


@dataclass(frozen=True)
class Block:
    """A code block of a page: the line of its fence, its tag, its text, and the reason not to run it."""

    page: Path
    line: int
    tag: str
    text: str
    mark: str | None

    def __str__(self):
        """Page and line, as an editor opens it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self):
        """Whether the tests run the block."""
        runs = self.tag in RUN_TAGS or (self.tag == "json" and REQUEST_LINE.match(self.text) is not None)
        return runs and self.mark is None


def read_blocks(page):
    """All code blocks of a page, in order."""
    blocks, opened, last = [], None, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = FENCE.match(line)
        if opened:
            if fence:
                start, tag, mark, text = opened
                if mark is None and page.name == "README.md":
                    mark = README_MARKS.get(text[0])
                blocks.append(Block(page, start, tag, "\n".join(text) + "\n", mark))
                opened, last = None, ""
            else:
                opened[-1].append(line)
        elif fence:
            mark = MARK.fullmatch(last)
            opened = (number, fence[1], mark and mark[1], [])
        elif line.strip():
            last = line.strip()
    assert opened is None, f"{page}: a code block is not closed"
    return blocks


def read_commands(text):
    """The commands of a block, each with the lines that belong to it: open quotes, loops, here-documents."""
    command = ""
    for line in text.splitlines():
        command += line + "\n"
        here = re.search(r"<<-?'?(\w+)'?", command)
        if here and not re.search(rf"^{here[1]}$", command, re.MULTILINE):
            continue
        if line.endswith("\\") or (not here and not _is_complete(command)):
            continue
        if here or shlex.split(command, comments=True):
            yield command.strip()
        command = ""
    assert not command, f"the command never ends: {command}"


def _is_complete(command):
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return False
    return words.count("do") <= words.count("done")


def free_port():
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class PageRun:
    """Runs the blocks of one page in order, in the current folder, against one cluster.

    Commands of `anthem` run in this process, all others in bash; curl fails if the service answers with an error.
    `anthem serve` and `--follow` keep running until the page ends, then Ctrl-C must end them with 0. `pip install` only
    checks that the extras exist. Where a page says localhost:9200 and localhost:8000, the addresses of the cluster and
    of a service are used.
    """

    def __init__(self, cluster, client, start_service, wait_until):
        self.cluster, self.client = cluster, client
        self.start_service, self.wait_until = start_service, wait_until
        self.names = {}
        self.service = None
        self.running = []
        self.environment = {"OPENSEARCH_URL": cluster, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        (Path.cwd() / ".curlrc").write_text("fail-with-body\nno-progress-meter\n", encoding="utf-8")
        self.environment |= {
            "CURL_HOME": str(Path.cwd()),
            "XDG_STATE_HOME": str(Path.cwd() / ".state"),
            "COLUMNS": "100",
            "NO_COLOR": "1",
        }

    def run(self, block):
        """Run a block.

        Raises:
            AssertionError: A command or a request fails.
            Exception: Whatever Python code raises.
        """
        text = self._fill_addresses(block.text)
        if block.tag == "python":
            exec(compile("\n" * block.line + text, str(block), "exec"), self.names)
        elif block.tag == "json":
            method, path, body = *REQUEST_LINE.match(text).groups(), REQUEST_LINE.sub("", text, count=1)
            self.client.transport.perform_request(method, "/" + path, body=json.loads(body) if body.strip() else None)
        else:
            lines = text.splitlines()
            if block.tag == "console":
                lines = [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]
            for command in read_commands("\n".join(lines)):
                self.run_command(command)

    def run_command(self, command):
        """Run one command, whose exit code must be 0."""
        words = shlex.split(command, comments=True)
        if words[0] == "export":
            self.environment.update(word.split("=", 1) for word in words[1:] if not word.startswith("OPENSEARCH_URL"))
        elif words[0] == "unset":
            assert words == ["unset", "OPENSEARCH_URL"], command  # the suite's node stays the cluster
        elif words[:2] == ["pip", "install"]:
            check_extras(words[2:])
        elif words[0] == "anthem" and {"serve", "--follow"} & {*words}:
            self._start(words)
        elif words[0] == "anthem" and not {"|", ">", "<", "&&", ";"} & {*words}:
            self._run_anthem(words[1:])
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                env=os.environ | self.environment, capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def _run_anthem(self, words):
        assert words[0] not in NEVER_RUN, f"anthem {words[0]} needs a mark: {MARKS}"
        result = CliRunner(env=self.environment).invoke(main, words, input="y\n", prog_name="anthem")
        good = GOOD_ENDINGS.get(words[0], (0,))
        assert result.exit_code in good, f"anthem {shlex.join(words)}\n{result.output}\n{result.exception!r}"

    def _start(self, words):
        """Start a command that runs until it is interrupted; a service is waited for."""
        if "serve" in words:
            port = self.service or free_port()
            at = words.index("--port") if "--port" in words else len(words)
            words = [*words[:at], "--port", str(free_port() if self.service else port), *words[at + 2 :]]
        else:
            words = [*words, "--interval", "0.2"]
        process = subprocess.Popen(
            [sys.executable, "-m", "anthem_search", *words[1:]],
            env=os.environ | self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.running.append((words, process))
        if "serve" in words:
            self.service = self.service or port
            _wait_for_port(int(words[words.index("--port") + 1]), process, self.wait_until)
        else:
            self._wait_until_followed(words[2], process)

    def _wait_until_followed(self, index, process):
        """Wait until a new product gets values, and then a second one, which only a later pass can have seen."""
        for name in ("first", "second"):
            self.client.index(index=index, id=f"followed-{name}", body={"title": "fire tv"}, refresh=True)

            def has_values(name=name):
                assert process.poll() is None, process.communicate()[0]
                return "anthem" in self.client.get(index=index, id=f"followed-{name}")["_source"]

            self.wait_until(has_values)

    def _fill_addresses(self, text):
        text = text.replace("http://localhost:9200", self.cluster)
        if re.search(r"(localhost|127\.0\.0\.1):8000", text) and not re.search(r"anthem serve", text):
            self.service = self.service or self.start_service()
            text = re.sub(r"(localhost|127\.0\.0\.1):8000", f"127.0.0.1:{self.service}", text)
        return text

    def stop(self):
        """End what still runs as Ctrl-C does.

        Raises:
            AssertionError: A command ended early, or with another exit code than 0.
        """
        for _, process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for words, process in self.running:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0, f"{shlex.join(words)}\n{output}"


def _wait_for_port(port, process, wait_until):
    """Wait until a service listens."""

    def listens():
        assert process.poll() is None, process.communicate()[0]
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens)


def check_extras(words):
    """Check that `pip install` names this folder and extras that exist; the tests marked `install` install it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (target,) = (word for word in words if not word.startswith("-"))
    named = re.fullmatch(r"(?:\.|[\w/~$-]*anthem-search)(?:\[([\w,]+)\])?", target)
    assert named, f"pip install {target} does not install this project"
    assert {*filter(None, (named[1] or "").split(","))} <= {*extras}, target
