"""CSV as shops export it: a row that cannot be read costs itself, never the file and never the rows after it."""

import csv
import io
import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import DataError
from anthem_ingest import csv_rows
from anthem_ingest.cli import ingest
from anthem_ingest.csv_rows import CsvRows
from anthem_ingest.product_files import locate_product_file, read_product_file

HEADER = "id,title,brand\n"


def read(text, *, quoted=True, delimiter=None, id_fields=("_id", "id")):
    """Rows by line number, and the reasons of the lines that cannot be read."""
    rows = list(CsvRows(io.StringIO(text, newline=""), "shop.csv", id_fields, quoted=quoted, delimiter=delimiter))
    good = {number: row for number, row in rows if isinstance(row, dict)}
    return good, {number: reason for number, reason in rows if isinstance(reason, str)}


def table(*bad_lines):
    """A table whose first row is followed by bad lines, then by good rows; returns it with the ids of the good rows."""
    numbers = ["100", *(str(number) for number in range(200, 203))]
    first, *others = (f"{number},sofa {number},Acme\n" for number in numbers)
    return HEADER + first + "".join(bad_lines) + "".join(others), numbers


@pytest.mark.parametrize(
    "line",
    [
        '1,"2" x 4" Lumber stud",Acme\n',
        '1,"12" shelf, white",Acme\n',
        '1,"Pipe 3/4"" x 2" long",Acme\n',
        '1,"open,Acme\n',
        '1,open,"Acme\n',
        '"1,open,Acme\n',
        '1,"open,\n',
        "1,a cell,too,many\n",
        "1,one too few\n",
    ],
)
def test_a_row_that_cannot_be_read_costs_only_itself(line):
    """All other rows are read, and the bad one is reported with its line."""
    text, ids = table(line)
    good, bad = read(text)
    assert [row["id"] for row in good.values()] == ids
    assert [*bad] == [3]


def test_a_cell_may_be_long():
    """A cell of 140 kB is read, in one line or in several."""
    for separator in ("x", "\n"):
        long = separator.join(["word"] * 28_000)
        good, bad = read(f'{HEADER}1,"{long}",Acme\n2,b,c\n')
        assert (good[2]["title"], not bad) == (long, True)
        assert [row["id"] for row in good.values()] == ["1", "2"]


@pytest.mark.parametrize("closing", ['4,Pipe 2",Acme\n', '4,"Pipe 2",Acme\n', '4,Pipe,"Acme"\n', '4,,"Acme"\n'])
def test_an_unclosed_quotation_mark_swallows_no_row(closing):
    """The rows up to the next quotation mark are read, even where it closes the cell and the columns are right."""
    text, ids = table('1,"open,Acme\n', "2,b,B\n", "3,c,C\n", closing)
    good, bad = read(text)
    assert [*bad] == [3]
    assert [row["id"] for row in good.values()] == [ids[0], "2", "3", "4", *ids[1:]]


@given(
    st.lists(st.sampled_from(["red, green", "blue, black", "a text", "", "10 cm", "<li>wood</li>", "x;y"]), max_size=6)
)
def test_a_text_of_several_lines_stays_whole(lines):
    """A quoted text with line breaks and commas is one cell."""
    text, row = io.StringIO(newline=""), {"id": "p1", "title": "\n".join(lines), "brand": 'the "Acme", Inc'}
    writer = csv.DictWriter(text, row)
    writer.writeheader()
    writer.writerow(row)
    assert read(text.getvalue()) == ({2: row}, {})


def test_the_rest_of_a_broken_cell_is_no_product():
    """Lines of a text whose first line cannot be read are skipped with it, though they may have as many cells."""
    text, ids = table('1,"He said "hi" there\n', 'line two, three",x\n', "and, so, on\n")
    good, bad = read(text)
    assert [row["id"] for row in good.values()] == ids
    assert "2 more of the lines after it are skipped" in bad[3]


def test_rows_lost_in_a_quoted_text_are_named():
    """A text that contains both rows and other lines is refused, and so is each row, because either may be right."""
    text, ids = table('1,"open,Acme\n', "2,b,B\n", "a text\n", '4,Pipe 2",Acme\n')
    good, bad = read(text)
    assert [row["id"] for row in good.values()] == ids
    assert [*bad] == [3, 4, 6]


def test_what_an_unclosed_quotation_mark_holds_is_bounded(monkeypatch):
    """No more than the limit is held in memory, and then read once more."""
    monkeypatch.setattr(csv_rows, "MAX_QUOTED_CHARACTERS", 10_000)
    rows = "".join(f"{number},sofa,Acme\n" for number in range(5_000))
    good, bad = read(f'{HEADER}a,"open,Acme\n{rows}')
    assert (len(good), [*bad]) == (5_000, [2])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("separator_line", [False, True])
def test_the_delimiter_is_recognised(delimiter, separator_line):
    """The header shows which delimiter a table has, or Excel's first line does; cells may contain the others."""
    cells = [["id", "title", "price, net"], ["1", "a,b;c|d", "9,50"], ["2", "x", "1;2"]]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(cells)
    before = f"sep={delimiter}\r\n" if separator_line else ""
    good, bad = read(before + text.getvalue())
    assert [[*row.values()] for row in good.values()] == cells[1:]
    assert not bad


def test_the_delimiter_gives_the_header_its_id():
    """Commas inside the names of columns do not make a table one of commas."""
    good, _ = read("id;price (net, EUR);size, cm;colour, main\n1;9,50;10;red\n")
    assert good == {2: {"id": "1", "price (net, EUR)": "9,50", "size, cm": "10", "colour, main": "red"}}


def test_a_delimiter_may_be_given():
    """An unusual one is named; in TSV it replaces the tab."""
    assert read("id~title\n1~a,b\n", delimiter="~")[0] == {2: {"id": "1", "title": "a,b"}}
    assert read('id,title\n1,"a\n', delimiter=",", quoted=False)[0] == {2: {"id": "1", "title": '"a'}}


def test_empty_header_cells_and_empty_rows_are_ignored():
    """An index column without a name, trailing delimiters, spaces around names and empty rows hold no product."""
    good, bad = read(",id, title ,,\n0,1,sofa,,\n,,,,\n\n1,2,boot,\n2,3,lamp,,,,\n")
    assert good == {2: {"id": "1", "title": "sofa"}, 6: {"id": "3", "title": "lamp"}}
    assert [*bad] == [5]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("id,title,price,\n1,lamp,3,\n2,desk, oak,5\n3,chair,5,\n", 4),
        ("id;title;price;\n1;lamp;3;\n2;desk; oak;5\n3;chair;5; \n", 4),
        ("id,title,price,,\n1,lamp,3,,\n2,desk,5,,junk\n3,chair,5,,\n", 5),
        ("id,title,price\n1,lamp,3\n2,desk, oak,5\n3,chair,5\n", 4),
        ("id,title,,price\n1,lamp,,3\n2,desk, oak,5\n3,chair, ,5\n", 3),
        (",id,title,\n0,1,lamp,\n1,2,desk, oak\n2,3,chair,\n", 4),
    ],
)
def test_a_value_without_a_name_makes_its_row_bad(text, column):
    """A cell that moved under an empty header cell is not dropped in silence: the reason names it and what to do."""
    good, bad = read(text)
    assert [row["id"] for row in good.values()] == ["1", "3"]
    reason = f"a value in column {column}, which has no name in the header; add a name to the header, or put a text"
    assert reason in bad[3]


def test_a_value_without_a_name_in_tsv():
    """TSV has no quotation marks, so the reason does not advise them."""
    _, bad = read("id\ttitle\t\n1\tlamp\t5\n", quoted=False)
    assert bad == {2: "a value in column 3, which has no name in the header; add a name to the header, or remove it"}


def test_quoted_rows_after_an_unnamed_column_are_not_swallowed():
    """An unclosed quotation mark makes only its own row bad, even if every line ends with a delimiter."""
    good, bad = read('id,title,\n1,lamp,\n2,"desk,\n3,chair,\n4,bed",\n5,sofa,\n')
    assert ([row["id"] for row in good.values()], [*bad]) == (["1", "3", "4", "5"], [3])


@pytest.mark.parametrize("header", ['id, "title", "price"', "id, title, price", 'id,  "title",price'])
def test_spaces_after_delimiters(header):
    """If the header has spaces after its delimiters, such spaces are ignored; spaces in quotation marks are kept."""
    good, bad = read(f'{header}\n1, "lamp, red", 3\n2, desk, 5\n3, " x", 6\n')
    assert [[*row.values()] for row in good.values()] == [["1", "lamp, red", "3"], ["2", "desk", "5"], ["3", " x", "6"]]
    assert ([*good[2]], bad) == (["id", "title", "price"], {})


@pytest.mark.parametrize("header", ["id,title,price", "id, title,price", 'id,"title",price'])
def test_cells_that_start_with_a_space_keep_it(header):
    """Without spaces after the delimiters of the header, those in rows are part of the cells."""
    assert read(f"{header}\n1, lamp,3\n")[0] == {2: {"id": "1", "title": " lamp", "price": "3"}}


@pytest.mark.parametrize("rows", [1, 20_000])
def test_a_zero_byte_in_a_cell_is_kept(tmp_path, rows):
    """A zero byte at any place does not make a file UTF-16, and is a character of its cell."""
    (tmp_path / "shop.csv").write_text("id,title\n" + "1,sofa\n" * rows + "2,de\0sk\n")
    *_, last = read_product_file(locate_product_file(tmp_path / "shop.csv"), print)
    assert last.source["title"] == "de\0sk"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Handle,Title\nd1,sofa\n", "no column _id or id. The columns are: Handle, Title.*--id"),
        ("id,title,title\n", "distinct names"),
        (",,\n1,2,3\n", "distinct names"),
        ('id,"title\n1,sofa\n', "Fix the header line"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(text, message):
    """The message names the columns, and what to do."""
    with pytest.raises(DataError, match=message):
        read(text)


TWO_LINES = "id,title\n1,ä\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_carriage_return_in_a_cell_does_not_end_its_row(end):
    """With quotation marks it is part of the cell; without, the row is bad, and no part of it becomes a product."""
    lines = ["id,title", '1,"red\rshoe"', "2,blue\rshoe", "3,green shoe", '4,"a\rb\rc"', ""]
    good, bad = read(end.join(lines))
    assert {row["id"]: row["title"] for row in good.values()} == {"1": "red\rshoe", "3": "green shoe", "4": "a\rb\rc"}
    assert bad == {3: "a carriage return in a cell without quotation marks"}


@pytest.mark.parametrize(
    "text",
    [
        "id,title\n1,a b\r2,b c\r3,d e\r",
        "sep=;\r\nid;title\r1;a b\r2;b c\r3;d e",
        "id,title\r\n1,a b\r2,b c\r\n3,d e\r\n",
    ],
)
def test_rows_may_end_in_different_ways(text):
    """A carriage return alone ends a row, if what follows has the cells of a row."""
    good, bad = read(text)
    assert ([row["id"] for row in good.values()], bad) == (["1", "2", "3"], {})


def test_carriage_returns_alone_end_the_lines_of_a_file_that_has_no_others():
    """Old spreadsheets write them."""
    good, bad = read("id,title\r1,red shoe\r2,blue shoe\r")
    assert ([row["id"] for row in good.values()], bad) == (["1", "2"], {})


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (TWO_LINES.encode("utf-16"), "UTF-16 text"),
        (TWO_LINES.encode("utf-32"), "UTF-32 text"),
        (TWO_LINES.encode("utf-16-le"), "as in UTF-16 and UTF-32"),
        (TWO_LINES.encode("utf-16-be"), "as in UTF-16 and UTF-32"),
        (TWO_LINES.encode("utf-32-be"), "as in UTF-16 and UTF-32"),
        (b"PK\x03\x04workbook", "a workbook"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, name):
    """UTF-16, UTF-32 and workbooks are recognised."""
    (tmp_path / "shop.csv").write_bytes(content)
    with pytest.raises(DataError, match=name):
        list(read_product_file(locate_product_file(tmp_path / "shop.csv"), print))


def test_one_bad_row_never_refuses_a_file(tmp_path):
    """Of ten rows one may be bad, though that is more than 1 %; two are an error, and so is a file of one bad row."""
    path, rows = tmp_path / "shop.csv", "".join(f"{number},sofa,Acme\n" for number in range(9))
    bad = '10,"2" x 4" Lumber stud",Acme\n'

    def count(text):
        path.write_text(HEADER + text)
        return sum(1 for _ in read_product_file(locate_product_file(path), lambda _: None))

    assert count(rows + bad) == 9
    for text in (rows + bad + bad, bad):
        with pytest.raises(DataError, match="at most 1 % may be bad"):
            count(text)


@pytest.mark.node
def test_a_bad_row_goes_to_the_dead_letters(client, cluster, index, tmp_path):
    """All other rows become products, the exit code is 8, and the dead letters name the line and the reason."""
    text, ids = table('1,"2" x 4" Lumber stud",Acme\n', '2,"open,Acme\n')
    (tmp_path / "shop.csv").write_text(text + "".join(f"{number},boot,Acme\n" for number in range(300, 500)))
    words = [index, "--corpus", str(tmp_path / "shop.csv"), "--url", cluster, "--dead-letter", str(tmp_path / "dead")]
    result = CliRunner().invoke(ingest, words)
    assert result.exit_code == 8, result.stderr
    letters = [json.loads(line) for line in (tmp_path / "dead").read_text().splitlines()]
    assert [(letter["file"], letter["line"]) for letter in letters] == [("shop.csv", 3), ("shop.csv", 4)]
    assert all("quotation mark" in letter["reason"] for letter in letters)
    assert client.count(index=index)["count"] == len(ids) + 200
