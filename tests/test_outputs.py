"""Files that commands leave: whole or absent, whatever fails; and standard output in the place of a file."""

import ast
import errno
import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.beir import Dataset, Product, write_dataset
from anthem_core.console import handle_errors, print_result
from anthem_core.errors import DataError
from anthem_core.files import atomic_write, check_writable, is_standard_output, write_text
from anthem_doctor.history import CoverageRun, append_run, read_runs
from anthem_evaluation.cli import demo, rerank
from anthem_evaluation.runs import read_run, write_run
from anthem_ingest.report import DeadLetters

ROOT = Path(__file__).resolve().parent.parent
ANTHEM = [sys.executable, "-m", "anthem_search"]
OLD = "q Q0 old 1 1.0 old\n"
TOO_LARGE = 200_000  # bytes; the full disk has 64 KiB
# Writes into scratch folders, into the home of a node that each start writes anew, and logs, which are appended to.
OTHER_WRITES = {
    "core/anthem_core/beir.py",  # a generated data set, written by `make bundle`
    "core/anthem_core/encoding/bundle.py",  # into the scratch folder of an export
    "exporter/anthem_exporter/export.py",  # into the same scratch folder
    "model/anthem_model/initialisation/known_teachers.py",  # into a scratch folder that is then renamed
    "sandbox/anthem_sandbox/node/layout.py",
    "sandbox/anthem_sandbox/node/lifecycle.py",  # the log of the node
    "sandbox/anthem_sandbox/node/system.py",  # the lock of a home
}


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a disk of 64 KiB of its own, with a file `out.trec` on it."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a disk of its own takes root and the permission to mount")
    try:
        (folder / "out.trec").write_text(OLD)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def shop(tmp_path):
    """Folder of a corpus, queries and a run that is larger than the full disk."""
    products = {
        f"product-{number:0100}": Product(f"product-{number:0100}", f"red lamp {number}") for number in range(500)
    }
    write_dataset(Dataset(products, {"q1": "red lamp"}), tmp_path / "shop")
    write_run(tmp_path / "shop" / "in.trec", {"q1": dict.fromkeys(products, 1.0)})
    return tmp_path / "shop"


def rerank_words(shop, output, *extra):
    """Words of a call of `anthem rerank`."""
    words = ["--corpus", shop, "--queries", shop / "queries.jsonl", "--run", shop / "in.trec", "--output", output]
    return [*map(str, words), "--signals", "lexical,containment", *extra]


def names(folder):
    """Names of the entries of a folder."""
    return sorted(path.name for path in folder.iterdir())


@given(old=st.none() | st.binary(), new=st.lists(st.binary(), max_size=5))
def test_a_file_becomes_what_was_written(tmp_path_factory, old, new):
    """After the block the file holds what was written, whatever it held before, and nothing else is left."""
    folder = tmp_path_factory.mktemp("folder")
    path = folder / "out"
    if old is not None:
        path.write_bytes(old)
    with atomic_write(path) as file:
        for part in new:
            file.write(part)
        assert (path.read_bytes() if path.exists() else None) == old
    assert path.read_bytes() == b"".join(new)
    assert names(folder) == ["out"]


@given(texts=st.lists(st.text(), min_size=1, max_size=3))
def test_a_name_that_ends_with_gz_is_a_gzipped_file(tmp_path_factory, texts):
    """A text is gzipped if the name says so; the same text gives the same bytes under any name at any time."""
    folder = tmp_path_factory.mktemp("folder")
    for text in texts:
        for name in ("a.txt.gz", "b.txt.gz", "plain.txt"):
            write_text(folder / name, text)
        packed = (folder / "a.txt.gz").read_bytes()
        assert packed == (folder / "b.txt.gz").read_bytes()
        assert gzip.decompress(packed) == (folder / "plain.txt").read_bytes() == text.encode()
        assert packed[3:8] == bytes(5)  # no file name, no time
    assert names(folder) == ["a.txt.gz", "b.txt.gz", "plain.txt"]


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize(
    "failure", [OSError(errno.EIO, "broken"), RuntimeError("torch"), KeyboardInterrupt(), ValueError()]
)
def test_a_failure_changes_nothing(tmp_path, old, failure):
    """If the block fails, the file is what it was, and the part that was written is gone."""
    path = tmp_path / "out"
    if old is not None:
        path.write_bytes(old)
    expected = DataError if isinstance(failure, OSError | RuntimeError) else type(failure)

    def write_half():
        with atomic_write(path) as file:
            file.write(b"half")
            raise failure

    with pytest.raises(expected):
        write_half()
    assert names(tmp_path) == ([] if old is None else ["out"])
    assert old is None or path.read_bytes() == old


def test_a_killed_process_changes_nothing(tmp_path):
    """A process killed while it writes leaves the file as it was."""
    path = tmp_path / "out"
    path.write_text(OLD)
    code = (
        "import os, sys; from pathlib import Path; from anthem_core.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file: file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == OLD


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_the_mode_of_a_file_is_kept(tmp_path, mode):
    """A file that is replaced keeps its mode; a new one gets that of any new file."""
    (tmp_path / "old").touch()
    (tmp_path / "old").chmod(mode)
    (tmp_path / "plain").touch()
    for name in ("old", "new"):
        write_text(tmp_path / name, "text")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == mode
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_a_file_is_kept(tmp_path):
    """A file of another user stays that user's when root replaces it."""
    path = tmp_path / "out"
    path.touch()
    os.chown(path, 1234, 4321)
    write_text(path, "text")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(tmp_path, exists):
    """A link stays a link: the file it points to is replaced or created, through several links too."""
    (tmp_path / "disk").mkdir()
    target = tmp_path / "disk" / "file"
    if exists:
        target.write_text("old")
    (tmp_path / "link").symlink_to("disk/file")
    (tmp_path / "outer").symlink_to(tmp_path / "link")
    check_writable(tmp_path / "outer")
    write_text(tmp_path / "outer", "new")
    assert target.read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "outer").is_symlink()


def test_a_file_that_is_mounted_on_its_own_is_written(tmp_path):
    """A file that a container mounts, which cannot be replaced, gets the new content in its place."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_text("old and longer than the new one")
    inside.touch()
    if subprocess.run(["mount", "--bind", str(outside), str(inside)], capture_output=True, check=False).returncode:
        pytest.skip("a mount takes root and the permission to mount")
    try:
        write_text(inside, "new")
        assert outside.read_text() == "new"
    finally:
        subprocess.run(["umount", "--lazy", str(inside)], check=True)
    assert names(tmp_path) == ["inside", "outside"]


def test_two_writers_leave_one_of_both(tmp_path):
    """Of writers at the same time, the file is always that of one of them."""
    texts = [letter * TOO_LARGE for letter in "abcd"]

    def write(text):
        for _ in range(5):
            write_text(tmp_path / "out", text)
            assert (tmp_path / "out").read_text() in texts

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "out").read_text() in texts
    assert names(tmp_path) == ["out"]


def test_a_full_disk_leaves_the_old_file(full_disk):
    """On a full disk every writer raises a DataError; the old file stays as it was, and no part of the new one."""
    path = full_disk / "out.trec"
    with pytest.raises(
        DataError, match=r"out\.trec could not be written \(No space left on device\)\. Is the disk full"
    ):
        write_text(path, "x" * TOO_LARGE)
    with pytest.raises(DataError, match="No space left"):
        write_run(path, {"q": {f"product-{number:0100}": 1.0 for number in range(1000)}})
    with pytest.raises(DataError, match="No space left"):
        write_text(full_disk / "new", "x" * TOO_LARGE)
    assert path.read_text() == OLD
    assert names(full_disk) == ["out.trec"]


@pytest.mark.train
def test_a_full_disk_leaves_the_old_checkpoint(full_disk):
    """What torch and numpy write to a full disk, a checkpoint and the vectors of a teacher, is whole or absent too."""
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    values = np.random.default_rng(1).normal(size=TOO_LARGE)
    for save in (
        lambda file: torch.save({"state": torch.from_numpy(values)}, file),
        lambda file: np.save(file, values),
    ):
        with pytest.raises(DataError, match=r"Is the disk full"), atomic_write(full_disk / "out.trec") as file:
            save(file)
        assert (full_disk / "out.trec").read_text() == OLD
        assert names(full_disk) == ["out.trec"]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_rerank_on_a_full_disk_keeps_the_former_run(full_disk, shop, options):
    """`anthem rerank --output` on a full disk exits 4 without a traceback, and the former run can still be read."""
    done = subprocess.run(
        [*ANTHEM, "rerank", *rerank_words(shop, full_disk / "out.trec", *options)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert read_run(full_disk / "out.trec") == {"q": {"old": 1.0}}
    if options:
        assert json.loads(done.stderr.splitlines()[-1])["exit_code"] == 4


def test_dead_letters_on_a_full_disk_are_an_error(full_disk):
    """Dead letters that do not fit raise a DataError that says what to do; the file ends with a whole line."""
    letters = DeadLetters(full_disk / "dead.jsonl")
    with pytest.raises(DataError, match=r"dead\.jsonl could not be written \(No space.*--dead-letter.*stays written"):
        list(map(letters.add, ({"id": str(number), "reason": "x" * 777} for number in range(1000))))
    letters.close()
    lines = (full_disk / "dead.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [str(number) for number in range(len(lines))]
    assert len(lines) > 10


def test_the_history_on_a_full_disk_keeps_its_lines(full_disk):
    """A run of the doctor that does not fit is an OSError, which it reports; the runs before it can still be read."""
    file, key, time = full_disk / "doctor.jsonl", {"index": "products"}, datetime(2026, 1, 1, tzinfo=UTC)
    count = 0
    with suppress(OSError):
        while True:
            append_run(file, key, CoverageRun(time, count, count))
            count += 1
    assert file.read_bytes().endswith(b"}\n")
    (full_disk / "out.trec").unlink()
    append_run(file, key, CoverageRun(time, count, count))
    assert [run.products for run in read_runs(file, key)] == list(range(count + 1))


def fill(folder):
    """Fill a small disk to its last byte."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_leaves_no_empty_file(full_disk):
    """If not even the first line fits, the history and the dead letters are absent; an existing line stays."""
    file, key = full_disk / "doctor.jsonl", {"index": "products"}
    run = CoverageRun(datetime(2026, 1, 1, tzinfo=UTC), 3, 3)
    (full_disk / "target.jsonl").symlink_to(file)
    fill(full_disk)
    before = names(full_disk)
    for path in (file, full_disk / "target.jsonl"):
        with pytest.raises(OSError, match="No space left"):
            append_run(path, key, run)
        letters = DeadLetters(path)
        with pytest.raises(DataError, match="No space left"):
            letters.add({"id": "1", "reason": "refused"})
        letters.close()
    assert names(full_disk) == before
    (full_disk / "out.trec").unlink()
    append_run(file, key, run)
    assert read_runs(file, key) == [run]


@pytest.mark.node
def test_the_demo_on_a_full_disk_keeps_the_former_report(full_disk, tmp_path, cluster, monkeypatch):
    """If the report does not fit, `anthem demo` exits 4 and the former report stays, whole."""
    products = {f"p{number}": Product(f"p{number}", f"red lamp {number}") for number in range(30)}
    qrels = {"dev": {f"q{number}": {f"p{number}": 1} for number in range(5)}}
    write_dataset(Dataset(products, {f"q{number}": f"lamp {number}" for number in range(5)}, qrels), tmp_path / "small")
    monkeypatch.setenv("ANTHEM_TEST_URL", cluster)
    fill(full_disk)
    for output in ("out.trec", "new.html"):
        words = ["--data", str(tmp_path / "small"), "--output", str(full_disk / output), "--json"]
        result = CliRunner().invoke(demo, words)
        assert result.exit_code == 4, result.output
        assert "No space left on device" in json.loads(result.stderr.splitlines()[-1])["error"]
    assert (full_disk / "out.trec").read_text() == OLD
    assert names(full_disk) == ["filler", "out.trec"]


@pytest.mark.node
def test_an_ingest_on_a_full_disk_says_so(client, index, cluster, full_disk):
    """If a failure cannot be recorded, `anthem ingest` exits 4 without a traceback, and says how to continue."""
    mappings = {"dynamic": "false", "properties": {"title": {"type": "text"}}}
    client.indices.create(index=index, body={"mappings": mappings})
    for number in range(20):
        client.index(index=index, id=str(number), body={"title": "red lamp", "price": "cheap" if number == 7 else 3})
    client.indices.put_mapping(index=index, body={"properties": {"price": {"type": "integer"}}})
    client.indices.refresh(index=index)
    fill(full_disk)
    words = [*ANTHEM, "ingest", index, "--url", cluster, "--dead-letter", str(full_disk / "dead.jsonl")]
    for options in ([], ["--slices", "2"]):
        done = subprocess.run([*words, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 4, done.stderr
        assert "Traceback" not in done.stderr
        assert "dead.jsonl could not be written (No space left on device)" in done.stderr
        assert '"id": "7"' in done.stderr
        assert not (full_disk / "dead.jsonl").exists()
        assert "--dead-letter" in done.stderr


@pytest.mark.parametrize("append", [True, False])
@pytest.mark.parametrize("name", ["/dev/full", "{folder}/none/dead", "{folder}"])
def test_dead_letters_that_cannot_be_written_are_an_error(tmp_path, append, name):
    """A device that takes nothing, a missing folder and a folder in the place of the file are a DataError."""
    letters = DeadLetters(Path(name.format(folder=tmp_path)), append=append)
    with pytest.raises(DataError, match="could not be written"):
        letters.add({"id": "1", "reason": "refused"})
    letters.close()


def test_a_full_disk_anywhere_in_a_command_is_an_error():
    """A write that no code of ours explains, such as that of a library, ends a command with exit code 4."""

    @click.command()
    @handle_errors
    def failing():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "scratch")

    result = CliRunner().invoke(failing)
    assert result.exit_code == 4
    assert result.stderr == "Error: scratch could not be written (No space left on device). Is the disk full?\n"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_result_that_standard_output_cannot_take_is_an_error(options):
    """If standard output is full, a command exits 4 with one message, and Python adds none of its own."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*ANTHEM, "node", "status", "--home", "/nowhere/node", *options],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 4, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "standard output (No space left on device)" in done.stderr


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_run_on_standard_output_is_a_run(shop, tmp_path, output):
    """Standard output by each of its names, a pipe or a file, has the run and nothing else; the summary is apart."""
    write_run(tmp_path / "before.trec", {"q0": {"first": 1.0}})
    with (tmp_path / "before.trec").open("ab") as file:
        done = subprocess.run(
            [*ANTHEM, "rerank", *rerank_words(shop, output, "--json")], stdout=file, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 0, done.stderr
    assert {query: len(scores) for query, scores in read_run(tmp_path / "before.trec").items()} == {"q0": 1, "q1": 500}
    assert json.loads(done.stderr.splitlines()[-1])["reranked"] == 1
    assert names(tmp_path) == ["before.trec", "shop"]


def test_names_of_standard_output(tmp_path, monkeypatch):
    """`-`, the descriptor and links to it are standard output; a file is not, even if it is called stdout."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "stdout").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    assert all(map(is_standard_output, map(Path, ["-", "/dev/stdout", "/dev/fd/1", "link"])))
    assert not any(map(is_standard_output, map(Path, ["stdout", "/dev/stderr", "/dev/null", "none", "loop", "./x/-"])))


def test_a_reader_that_leaves_is_no_error(shop):
    """If the reader of a pipe ends early, as `head` does, the command ends without a message of its own."""
    words = rerank_words(shop, "-")
    with subprocess.Popen([*ANTHEM, "rerank", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        message = process.stderr.read()
    assert b"Traceback" not in message
    assert b"disk" not in message


def test_devices_and_pipes_are_written_directly(tmp_path):
    """A device and a named pipe stay what they are, and the pipe's reader gets the content, once."""
    check_writable(Path("/dev/null"))
    write_text(Path("/dev/null"), "text")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(DataError, match="No space left"):
        write_text(Path("/dev/full"), "text")
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    check_writable(pipe)
    write_text(pipe, "text")
    reader.join()
    assert received == ["text"]
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize("command", [demo, rerank])
@pytest.mark.parametrize("output", ["{folder}", "{folder}/file/x", "/proc/x", "/sys/x/y"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(shop, tmp_path, command, output):
    """A folder, a file in the place of a folder and a file system that takes none exit 4 and name `--output`."""
    (tmp_path / "file").touch()
    output = output.format(folder=tmp_path)
    words = ["--data", str(shop), "--output", output] if command is demo else rerank_words(shop, output)
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 4, result.output
    assert "--output" in result.stderr
    assert names(tmp_path) == ["file", "shop"]


def test_every_file_that_a_command_leaves_is_written_atomically():
    """No other module opens a file for writing; the exceptions are scratch files, homes of nodes and logs."""
    found = set()
    for path in ROOT.glob("*/anthem_*/**/*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            modes = [word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
            opens = name == "open" and any(mode[:1] in "wax" and len(mode) <= 3 for mode in modes if mode)
            if (name in ("write_text", "write_bytes") and isinstance(call.func, ast.Attribute)) or opens:
                found.add(str(path.relative_to(ROOT)))
    assert found - {"core/anthem_core/files.py"} <= OTHER_WRITES


def test_a_result_is_printed_where_it_is_told(capsys):
    """`print_result` uses standard output unless told otherwise."""
    print_result({}, "here", as_json=False)
    print_result({}, "there", as_json=False, to_stderr=True)
    assert capsys.readouterr() == ("here\n", "there\n")


def test_a_loop_of_links_is_named(tmp_path):
    """A symbolic link that leads to itself cannot be written, and the message names it."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="loop cannot be written"):
        check_writable(tmp_path / "loop")
