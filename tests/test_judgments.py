"""Judgments: every form of a file gives the same judged queries, and bad lines are named."""

import gzip
import json
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anthem_core.errors import DataError
from anthem_evaluation.judgment_files import quepid_csv, workbench_judgments, workbench_query_set, write_judgment_files
from anthem_evaluation.judgments import JUDGMENT_FORMATS, JudgedQueries, read_judgments, recognise_format

pytest.importorskip("ir_measures", reason="the extra `demo` is not installed")

TEXTS = {"q1": "fire tv", "q2": 'inch "2" x 4", stud', "q3": "kühlschrank"}
QRELS = {"q1": {"p1": 3, "p2": 0}, "q2": {"p1": 1, "P-3": 2}, "q3": {"p2": 3}}
LINES = [(query, product, grade) for query, grades in QRELS.items() for product, grade in grades.items()]

plain_text = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
judged_queries = st.dictionaries(plain_text, st.dictionaries(plain_text, st.integers(-1, 5), min_size=1), min_size=1)


def write_queries(folder):
    """Texts as BEIR and as tab-separated lines."""
    beir = "".join(json.dumps({"_id": query, "text": text}) + "\n" for query, text in TEXTS.items())
    (folder / "queries.jsonl").write_text(beir, encoding="utf-8")
    (folder / "queries.tsv").write_text(
        "".join(f"{query}\t{text}\n" for query, text in TEXTS.items()), encoding="utf-8"
    )


def write_form(folder, form):
    """The judgments in a form; returns the arguments that read them."""
    write_queries(folder)
    judged = JudgedQueries(TEXTS, QRELS)
    contents = {
        "beir": "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{p}\t{g}\n" for q, p, g in LINES),
        "trec": "".join(f"{q} 0 {p} {g}\n" for q, p, g in LINES),
        "ranx": json.dumps(QRELS),
        "quepid": quepid_csv(judged),
        "workbench": workbench_judgments(judged, "shop"),
    }
    path = folder / "judgments.txt"
    path.write_text(contents[form], encoding="utf-8")
    return (path,) if form in ("quepid", "workbench") else (path, folder / "queries.tsv")


def by_text(judged):
    """Grades by the text of the query: ids differ between forms."""
    return {judged.queries[query]: grades for query, grades in judged.qrels.items()}


@pytest.mark.parametrize("form", JUDGMENT_FORMATS)
def test_every_form_gives_the_same_judgments(tmp_path, form):
    """The form is recognised by its content, and read to the same grades."""
    arguments = write_form(tmp_path, form)
    assert recognise_format(arguments[0]) == form
    judged = read_judgments(*arguments)
    assert by_text(judged) == by_text(JudgedQueries(TEXTS, QRELS))
    assert judged.skipped == []
    assert judged.judgment_count == len(LINES)


@pytest.mark.parametrize("form", JUDGMENT_FORMATS)
def test_a_gzipped_file_reads_the_same(tmp_path, form):
    """A gzipped file gives what the plain one gives."""
    path, *queries = write_form(tmp_path, form)
    packed = path.with_name("judgments.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_judgments(packed, *queries) == read_judgments(path, *queries)


def test_a_beir_folder_has_its_queries_and_splits(tmp_path):
    """A folder is read with its own texts; the split is test, else dev, or the one that is named."""
    write_queries(tmp_path)
    (tmp_path / "qrels").mkdir()
    for split, grade in (("train", 1), ("dev", 2)):
        text = f"query-id\tcorpus-id\tscore\nq1\tp1\t{grade}\n"
        (tmp_path / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")
    assert read_judgments(tmp_path).qrels == {"q1": {"p1": 2}}
    assert read_judgments(tmp_path, split="train").qrels == {"q1": {"p1": 1}}
    with pytest.raises(DataError, match=r"has qrels \['dev', 'train'\]; expected test"):
        read_judgments(tmp_path, split="test")


def test_ids_may_look_like_json(tmp_path):
    """TREC qrels and tab-separated queries are read as such, also if the first id starts as a JSON object does."""
    qrels, queries = tmp_path / "qrels.txt", tmp_path / "queries.tsv"
    qrels.write_text("{q 0 p1 1\n", encoding="utf-8")
    queries.write_text("{q\tred shoe\n", encoding="utf-8")
    judged = read_judgments(qrels, queries)
    assert (judged.queries, judged.qrels) == ({"{q": "red shoe"}, {"{q": {"p1": 1}})


@settings(max_examples=30)
@given(judged_queries)
def test_what_is_written_is_read_back(tmp_path_factory, qrels):
    """Quepid's and the workbench's files hold every judgment, whatever characters the texts have."""
    assume(any(grade > 0 for grades in qrels.values() for grade in grades.values()))
    folder = tmp_path_factory.mktemp("judged")
    judged = JudgedQueries({query: query for query in qrels}, qrels)
    queries, trec, quepid, query_set, workbench = write_judgment_files(judged, folder, "shop")
    assert read_judgments(trec, queries).qrels == qrels
    assert by_text(read_judgments(quepid)) == qrels
    assert by_text(read_judgments(workbench)) == qrels
    texts = json.loads(query_set.read_text(encoding="utf-8"))["querySetQueries"]
    assert [query["queryText"] for query in texts] == list(qrels)


def test_fractional_grades_keep_their_order(tmp_path):
    """Grades such as click rates are counted in thousandths."""
    path = tmp_path / "clicks.json"
    path.write_text(json.dumps({"q1": {"p1": 0.25, "p2": 1, "p3": 0}}), encoding="utf-8")
    write_queries(tmp_path)
    assert read_judgments(path, tmp_path / "queries.jsonl").qrels == {"q1": {"p1": 250, "p2": 1000, "p3": 0}}


def test_bad_lines_are_named(tmp_path):
    """A line that is no judgment is skipped with its number and the reason; the others count."""
    write_queries(tmp_path)
    path = tmp_path / "qrels.txt"
    good = "".join(f"q1 0 p{number} 3\n" for number in range(400))
    path.write_text(f"{good}q1 0 p2\nq1 0 x high\nq1 0 p4 1\nq9 0 p1 1\nq1 0 x nan\n", encoding="utf-8")
    judged = read_judgments(path, tmp_path / "queries.tsv")
    assert judged.qrels == {"q1": {f"p{number}": 3 for number in range(400)}}
    named = [str(line) for line in judged.skipped]
    assert len(named) == 5
    assert any(line.startswith("qrels.txt:401: not of the form") for line in named)
    assert "qrels.txt: no text for query 'q9'" in named
    assert any("'p4' is judged twice for 'fire tv'" in line for line in named)


def test_a_file_with_many_bad_lines_is_refused(tmp_path):
    """More than one bad line and more than 1 % of all are rather another file than a few slips."""
    write_queries(tmp_path)
    path = tmp_path / "qrels.txt"
    path.write_text("q1 0 p1 3\nq1 0 p2\nq1 0 p3 high\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"2 lines of qrels.txt cannot be used; at most 1 % may be bad"):
        read_judgments(path, tmp_path / "queries.tsv")


def test_an_empty_rating_is_not_a_judgment(tmp_path):
    """Quepid exports products that nobody has rated; they count as unjudged."""
    path = tmp_path / "ratings.csv"
    path.write_text("query,docid,rating\nfire tv,p1,3\nfire tv,p2,\n", encoding="utf-8")
    judged = read_judgments(path)
    assert by_text(judged) == {"fire tv": {"p1": 3}}
    assert judged.skipped == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "first line is ''"),
        ("one two\n", "Expected judgments as TREC qrels"),
        ("{broken", "is not JSON"),
        ('{"q1": 3}', "query 'q1' has int"),
        ('{"judgmentRatings": [{"query": "x"}]}', "a judgment lacks 'ratings'"),
        ("query,docid,rating\n", "has 0 judgments"),
        ("query,docid,rating\ntv,p1,0\n", "has 1 judgments, none of a grade above 0"),
        ("q1 0 p1 3\n", "Name a file of them with --queries"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, content, message):
    """The message says what was found and what was expected."""
    path = tmp_path / "judgments"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)):
        read_judgments(path)


def test_the_workbench_gets_each_text_once():
    """Two queries of one text are one query of a query set."""
    judged = JudgedQueries({"a": "tv", "b": "tv"}, {"a": {"p": 1}, "b": {"q": 1}})
    assert len(json.loads(workbench_query_set(judged, "shop"))["querySetQueries"]) == 1


@pytest.mark.parametrize("header", ["Query,Doc ID,Rating", "query;docid;rating", "QUERY\tdoc_id\trating"])
def test_a_quepid_file_of_a_spreadsheet_is_read(tmp_path, header):
    """Case, spaces and the separator of the columns do not matter."""
    separator = next(character for character in ",;\t" if character in header)
    path = tmp_path / "ratings.csv"
    path.write_text(f"{header}\nfire tv{separator}p1{separator}3\n", encoding="utf-8")
    judged = read_judgments(path)
    assert (judged.queries, judged.qrels) == ({"q1": "fire tv"}, {"q1": {"p1": 3}})


def test_ratings_in_words_are_named(tmp_path):
    """A file whose ratings are words is refused with the first of them, not as one without judgments."""
    path = tmp_path / "ratings.csv"
    path.write_text("query,docid,rating\nfire tv,p1,high\nfire tv,p2,low\n", encoding="utf-8")
    with pytest.raises(DataError, match="the rating 'high' is not a number"):
        read_judgments(path)
