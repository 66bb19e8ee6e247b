"""Files under a fuzz: each is read, or refused with an exit code and a sentence; nothing that is read is half read."""

import csv
import gzip
import io
import json
import uuid
from dataclasses import dataclass

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from anthem_core.beir import read_dataset
from anthem_core.errors import AnthemError
from anthem_evaluation.cli import rerank
from anthem_evaluation.offline import read_queries
from anthem_evaluation.runs import read_qrels, read_run
from anthem_ingest.cli import ingest
from anthem_ingest.product_files import locate_product_file, read_product_file

FEW = settings(max_examples=settings().max_examples // 10)  # each example runs a command

ROWS = [{"id": str(number), "title": f"fire tv {number}, ünï\u2028", "price": "3"} for number in range(150)]
RUN = "".join(f"q{number % 3} Q0 {number} 1 {9 - number / 20} tag\n" for number in range(150)).encode()
QRELS = "".join(f"q{number % 3} 0 {number} {number % 4}\n" for number in range(150)).encode()
QUERIES = b'{"_id": "q0", "text": "fire tv"}\n{"_id": "q1", "text": "tv"}\n{"_id": "q2", "text": "?!"}\n'
TABLE = b"query-id\tcorpus-id\tscore\nq0\t1\t2\nq1\t2\t0\n"


def lines():
    """The products as JSON lines."""
    return "".join(json.dumps({"_id": row["id"]} | row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def table(**form):
    """The products as a table in text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ROWS[0], **form)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def columns():
    """The products as Parquet."""
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


WHOLE = {
    "shop.jsonl": lines(),
    "shop.jsonl.gz": gzip.compress(lines()),
    "shop.csv": table(),
    "shop.tsv": table(delimiter="\t"),
    "shop.csv.gz": gzip.compress(table()),
    "shop.parquet": columns(),
}


@dataclass(frozen=True)
class Damage:
    """Bytes lost from a place on, and junk in their stead."""

    place: float
    lost: int
    junk: bytes

    def __call__(self, content):
        """The content damaged."""
        place = int(self.place * len(content))
        return content[:place] + self.junk + content[place + self.lost :]


junk = st.binary(max_size=30) | st.sampled_from(
    [b"\n", b"\0", b'"', b"\r", b"\xff", b"[" * 50_000, b"9" * 5_000, b"1e999", b"\\ud800"]
)
damages = st.builds(Damage, st.floats(0, 1), st.integers(0, 99) | st.just(2**32), junk)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder whose files are written anew for every example."""
    return tmp_path_factory.mktemp("fuzz")


def read(use, path, content):
    """What comes of a file with this content: a value, or the sentence by which it is refused."""
    path.write_bytes(content)
    try:
        return use(path)
    except AnthemError as error:
        return str(error)


def products(path):
    """All products of a file, with the lines that were skipped."""
    skipped = []
    found = list(read_product_file(locate_product_file(path), skipped.append))
    assert all(product.id and json.dumps(product.source, ensure_ascii=False).encode() for product in found)
    return len(found), len(skipped)


@pytest.mark.parametrize("name", WHOLE)
@given(damage=damages)
def test_a_damaged_corpus_is_read_or_refused(folder, name, damage):
    """Products come out whole and as UTF-8, at most 1 % of the lines is skipped, and a sentence refuses the rest."""
    found = read(products, folder / name, damage(WHOLE[name]))
    if isinstance(found, str):
        assert found.endswith(".")
    else:
        assert found[1] <= 0.01 * sum(found)


@pytest.mark.parametrize("name", WHOLE)
@given(content=st.binary(max_size=200))
def test_bytes_are_no_corpus_or_a_short_one(folder, name, content):
    """Bytes at random are read or refused like any file."""
    found = read(products, folder / name, content)
    assert isinstance(found, tuple) or found.endswith(".")


# What Arrow holds and Python or JSON may not: dates of other ages, nanoseconds, bytes that are no text.
types = st.sampled_from(
    [
        *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "Europe/Berlin")),
        *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
        *(pa.date32(), pa.date64(), pa.time64("ns"), pa.time64("us"), pa.int8(), pa.uint64(), pa.bool_()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.decimal128(38, 5), pa.binary(), pa.string()),
        *(pa.list_(pa.int64()), pa.map_(pa.string(), pa.float64()), pa.dictionary(pa.int8(), pa.string())),
        pa.struct({"a": pa.timestamp("ns"), "b": pa.list_(pa.binary())}),
    ]
)
values = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.integers(0, 100), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.decimals(), st.lists(st.integers(0, 9)), st.dictionaries(st.sampled_from("ab"), st.integers(0, 9)),
)  # fmt: skip


@given(kind=types, value=values)
def test_any_value_of_parquet_is_read_or_refused(folder, kind, value):
    """Whatever a column holds, its products are JSON, or the file is refused in a sentence."""
    try:
        column = pa.array([value], kind)
        parquet.write_table(pa.table({"id": ["1"], "value": column}), folder / "any.parquet")
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        assume(False)
    path = folder / "any.parquet"
    found = read(products, path, path.read_bytes())
    assert isinstance(found, tuple) or found.endswith(".")


READERS = {
    "run.trec": (read_run, RUN),
    "qrels.txt": (read_qrels, QRELS),
    "queries.jsonl": (read_queries, QUERIES),
    "queries.jsonl.gz": (read_queries, gzip.compress(QUERIES)),
}


@pytest.mark.parametrize("name", READERS)
@given(damage=damages)
def test_damaged_runs_and_judgments_are_read_or_refused(folder, name, damage):
    """A run, judgments or queries are read, or refused by a sentence that names the file."""
    reader, whole = READERS[name]
    found = read(reader, folder / name, damage(whole))
    assert isinstance(found, dict) or name in found


@given(path=st.sampled_from(["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]), damage=damages)
def test_a_damaged_folder_is_read_or_refused(folder, path, damage):
    """A BEIR folder of which one file is damaged is read, or refused by a sentence that names that file."""
    home = folder / "beir"
    (home / "qrels").mkdir(parents=True, exist_ok=True)
    whole = {"corpus.jsonl": WHOLE["shop.jsonl"], "queries.jsonl": QUERIES, "qrels/test.tsv": TABLE}
    for name, content in whole.items():
        (home / name).write_bytes(content)
    found = read(lambda _: read_dataset(home), home / path, damage(whole[path]))
    assert not isinstance(found, str) or any(name in found for name in whole)


@FEW
@given(part=st.sampled_from(["corpus", "queries", "run"]), damage=damages)
def test_the_rerank_command_ends_in_a_code(folder, part, damage):
    """With one file damaged `anthem rerank` ends with 0 and a run that can be read, or with 4, and never in a fault."""
    paths = {"corpus": folder / "corpus.jsonl", "queries": folder / "queries.jsonl", "run": folder / "in.trec"}
    whole = {"corpus": WHOLE["shop.jsonl"], "queries": QUERIES, "run": RUN}
    for name, path in paths.items():
        path.write_bytes(damage(whole[name]) if name == part else whole[name])
    output = folder / "out.trec"
    output.unlink(missing_ok=True)
    words = [word for name, path in (paths | {"output": output}).items() for word in (f"--{name}", str(path))]
    result = CliRunner().invoke(rerank, words)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.exit_code in (0, 4)
    assert output.exists() == (result.exit_code == 0)
    assert result.exit_code == 4 or read_run(output)


@pytest.mark.node
@FEW
@given(name=st.sampled_from([*WHOLE]), damage=damages)
def test_the_ingest_command_ends_in_a_code(client, cluster, folder, name, damage):
    """A damaged file ends `anthem ingest` with 0, 4 or 8; what it says it wrote is in the index, the rest is named."""
    index = f"test-fuzz-{uuid.uuid4().hex}"
    path, dead = folder / name, folder / "dead.jsonl"
    path.write_bytes(damage(WHOLE[name]))
    dead.unlink(missing_ok=True)
    words = [index, "--corpus", str(path), "--url", cluster, "--json", "--dead-letter", str(dead)]
    result = CliRunner().invoke(ingest, words)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.exit_code in (0, 4, 8)
    if result.exit_code != 4:
        counts = json.loads(result.stdout)
        held = client.count(index=index)["count"]
        assert held <= counts["written"] + counts["empty"]
        assert dead.exists() == (counts["failed"] + counts["bad_lines"] > 0) == (result.exit_code == 8)
    client.indices.delete(index=index, ignore_unavailable=True)
