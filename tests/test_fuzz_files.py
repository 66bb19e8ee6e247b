"""Randomly damaged files: each is read or refused with an exit code and a message; no record is read partially."""

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

from anthem_core.beir import read_dataset, read_queries
from anthem_core.errors import AnthemError
from anthem_evaluation.cli import rerank
from anthem_evaluation.runs import read_run
from anthem_ingest.cli import ingest
from anthem_ingest.product_files import locate_product_file, read_product_file

FEWER_EXAMPLES = settings(max_examples=settings().max_examples // 10)  # each example runs a command

ROWS = [{"id": str(number), "title": f"fire tv {number}, ünï\u2028", "price": "3"} for number in range(150)]
RUN = "".join(f"q{number % 3} Q0 {number} 1 {9 - number / 20} tag\n" for number in range(150)).encode()
QUERIES = b'{"_id": "q0", "text": "fire tv"}\n{"_id": "q1", "text": "tv"}\n{"_id": "q2", "text": "?!"}\n'
BEIR_QRELS = b"query-id\tcorpus-id\tscore\nq0\t1\t2\nq1\t2\t0\n"


def json_lines():
    """The products as JSON lines."""
    return "".join(json.dumps({"_id": row["id"]} | row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def csv_table(**options):
    """The products as CSV or TSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ROWS[0], **options)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def parquet_table():
    """The products as Parquet."""
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


INTACT_FILES = {
    "shop.jsonl": json_lines(),
    "shop.jsonl.gz": gzip.compress(json_lines()),
    "shop.csv": csv_table(),
    "shop.tsv": csv_table(delimiter="\t"),
    "shop.csv.gz": gzip.compress(csv_table()),
    "shop.parquet": parquet_table(),
}


@dataclass(frozen=True)
class Damage:
    """Bytes that are replaced by junk, from a relative position on."""

    position: float
    length: int
    junk: bytes

    def __call__(self, content):
        """The damaged content."""
        start = int(self.position * len(content))
        return content[:start] + self.junk + content[start + self.length :]


junk = st.binary(max_size=30) | st.sampled_from(
    [b"\n", b"\0", b'"', b"\r", b"\xff", b"[" * 50_000, b"9" * 5_000, b"1e999", b"\\ud800"]
)
damages = st.builds(Damage, st.floats(0, 1), st.integers(0, 99) | st.just(2**32), junk)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder whose files are rewritten for every example."""
    return tmp_path_factory.mktemp("fuzz")


ENDS = (".", "> utf8.csv")  # of a sentence, or of the command that converts the file


def value_or_message(reader, path, content):
    """What a reader returns for a file with this content, or the message of its error."""
    path.write_bytes(content)
    try:
        return reader(path)
    except AnthemError as error:
        return str(error)


def count_products(path):
    """Numbers of products and skipped lines in a file."""
    skipped = []
    products = list(read_product_file(locate_product_file(path), skipped.append))
    assert all(product.id and json.dumps(product.source, ensure_ascii=False).encode() for product in products)
    return len(products), len(skipped)


@pytest.mark.parametrize("name", INTACT_FILES)
@given(damage=damages)
def test_a_damaged_corpus_is_read_or_refused(folder, name, damage):
    """Products are complete and UTF-8, and one line or 1 % of them may be skipped; otherwise the file is refused."""
    result = value_or_message(count_products, folder / name, damage(INTACT_FILES[name]))
    if isinstance(result, str):
        assert result.endswith(ENDS)
    else:
        assert result[1] <= max(1, 0.01 * sum(result))


@pytest.mark.parametrize("name", INTACT_FILES)
@given(content=st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(folder, name, content):
    """Random bytes are read or refused like any other file."""
    result = value_or_message(count_products, folder / name, content)
    assert isinstance(result, tuple) or result.endswith(ENDS)


# Arrow types that Python or JSON may not support: distant dates, nanoseconds, bytes that are not text.
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
    """For any values in a column, the products are valid JSON or the file is refused."""
    try:
        column = pa.array([value], kind)
        parquet.write_table(pa.table({"id": ["1"], "value": column}), folder / "any.parquet")
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        assume(False)
    path = folder / "any.parquet"
    result = value_or_message(count_products, path, path.read_bytes())
    assert isinstance(result, tuple) or result.endswith(ENDS)


READERS = {
    "run.trec": (read_run, RUN),
    "queries.jsonl": (read_queries, QUERIES),
    "queries.jsonl.gz": (read_queries, gzip.compress(QUERIES)),
}


@pytest.mark.parametrize("name", READERS)
@given(damage=damages)
def test_damaged_runs_and_queries_are_read_or_refused(folder, name, damage):
    """A run or queries are read, or refused with a message that names the file."""
    reader, intact = READERS[name]
    result = value_or_message(reader, folder / name, damage(intact))
    assert isinstance(result, dict) or name in result


@given(path=st.sampled_from(["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]), damage=damages)
def test_a_damaged_folder_is_read_or_refused(folder, path, damage):
    """A BEIR folder with one damaged file is read, or refused with a message that names that file."""
    home = folder / "beir"
    (home / "qrels").mkdir(parents=True, exist_ok=True)
    intact = {"corpus.jsonl": INTACT_FILES["shop.jsonl"], "queries.jsonl": QUERIES, "qrels/test.tsv": BEIR_QRELS}
    for name, content in intact.items():
        (home / name).write_bytes(content)
    result = value_or_message(lambda _: read_dataset(home), home / path, damage(intact[path]))
    assert not isinstance(result, str) or any(name in result for name in intact)


@FEWER_EXAMPLES
@given(part=st.sampled_from(["corpus", "queries", "run"]), damage=damages)
def test_the_rerank_command_never_crashes(folder, part, damage):
    """With one damaged file `anthem rerank` exits with 0 and writes a valid run, or exits with 4."""
    paths = {"corpus": folder / "corpus.jsonl", "queries": folder / "queries.jsonl", "run": folder / "in.trec"}
    intact = {"corpus": INTACT_FILES["shop.jsonl"], "queries": QUERIES, "run": RUN}
    for name, path in paths.items():
        path.write_bytes(damage(intact[name]) if name == part else intact[name])
    output = folder / "out.trec"
    output.unlink(missing_ok=True)
    words = [word for name, path in (paths | {"output": output}).items() for word in (f"--{name}", str(path))]
    result = CliRunner().invoke(rerank, words)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.exit_code in (0, 4)
    assert output.exists() == (result.exit_code == 0)
    assert result.exit_code == 4 or read_run(output)


@pytest.mark.node
@FEWER_EXAMPLES
@given(name=st.sampled_from([*INTACT_FILES]), damage=damages)
def test_the_ingest_command_never_crashes(client, cluster, folder, name, damage):
    """With a damaged file `anthem ingest` exits with 0, 4 or 8; its counts match the index and the dead letters."""
    index = f"test-fuzz-{uuid.uuid4().hex}"
    path, dead_letters = folder / name, folder / "dead.jsonl"
    path.write_bytes(damage(INTACT_FILES[name]))
    dead_letters.unlink(missing_ok=True)
    words = [index, "--corpus", str(path), "--url", cluster, "--json", "--dead-letter", str(dead_letters)]
    result = CliRunner().invoke(ingest, words)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.exit_code in (0, 4, 8)
    if result.exit_code != 4:
        counts = json.loads(result.stdout)
        indexed = client.count(index=index)["count"]
        assert indexed <= counts["written"] + counts["empty"]
        assert dead_letters.exists() == (counts["failed"] + counts["bad_lines"] > 0) == (result.exit_code == 8)
    client.indices.delete(index=index, ignore_unavailable=True)
