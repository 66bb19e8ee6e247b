"""`anthem explain`: its numbers add up, agree with a search, and read in a terminal, as a picture and as a page."""

import io
import json
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from small_index import small_index

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.fusion import MAX_SHIFT
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS
from anthem_evaluation.explain.cli import explain
from anthem_plugin.client import AnthemClient
from anthem_plugin.explanation_text import LINE_WIDTH, render_explanations
from anthem_plugin.grid_table import grid_table
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.disk_map import map_titles
from anthem_plugin.search.title_explanation import TitleExplainer

QUERY, TITLE, OTHER = "cordless dril 18v", "DEWALT 20V MAX Cordless Drill Driver Kit", "Garden Hose 50 ft"
some_texts = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    st.sampled_from(
        [QUERY, TITLE, "苹果手机壳 手机", "टीवी टीवी", "A" * 200, "Pokémon™ 1½ in. $5 $x$", "½ in. nut in a box"]
    ),
)
PALETTE_PNG = 3  # colour type in the header of a PNG
few_examples = settings(max_examples=25)


@pytest.fixture(scope="module")
def explainer(encoder):
    """Explains titles by the shipped bundle."""
    return TitleExplainer(encoder.bundle)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(explain, arguments)


@few_examples
@given(some_texts, some_texts)
def test_the_attention_score_is_the_sum_of_its_parts(explainer, encoder, query, title):
    """The answers to the words of the query and the coverage of the title add up to the score that ranks."""
    attention = explainer.explain(query, title).attention
    (score,) = AttentionScorer(encoder.bundle).score_titles(query, [title])
    assert (attention is None) == bool(np.isnan(score))
    if attention is not None:
        assert attention.score == pytest.approx(score)
        assert sum(attention.answers) + attention.coverage == pytest.approx(score)
        assert len(attention.answers) == len(attention.words.query)
        values = attention.to_dict()
        assert sum(value for _, value in values["answers"]) + values["coverage"] == pytest.approx(score)
        for name, cells in (("words", attention.words.cells), ("entities", attention.grid.cells)):
            np.testing.assert_allclose(values[name]["cells"], cells, atol=1e-7)
            assert all(round(cell, 7) == cell for row in values[name]["cells"] for cell in row)  # no noise of float32


@few_examples
@given(some_texts, some_texts, st.floats(0, 1e6))
def test_the_score_is_the_sum_of_its_contributions(explainer, query, title, lexical):
    """Contributions add up to the shift, the shift gives the factor, and the factor gives the score."""
    parts = explainer.explain(query, title, lexical).to_dict()["score"]
    shift = sum(parts[name]["contribution"] for name in ("attention", "distance"))
    assert parts["shift"] == pytest.approx(shift)
    assert parts["factor"] == pytest.approx(np.exp(MAX_SHIFT * np.tanh(shift / MAX_SHIFT)))
    assert parts["score"] == pytest.approx((lexical + parts["offset"]) * parts["factor"])


@few_examples
@given(some_texts)
def test_the_weights_of_a_region_add_up_to_one(explainer, encoder, query):
    """Words and intersections of two words share out the whole region; a query without words has none."""
    weights = explainer.query_weights(query)
    assert bool(weights) == encoder.bundle.vocabulary.has_words(query)
    assert sum(weight for _, weight in weights) == pytest.approx(1 if weights else 0, abs=1e-5)
    assert weights == sorted(weights, key=lambda pair: -pair[1])


@few_examples
@given(some_texts, some_texts, st.booleans(), st.booleans())
def test_a_line_fits_into_eighty_columns(explainer, query, title, by_words, has_lexical):
    """No line is wider than the terminal, and every share that is not tiny is shown once."""
    explanation = explainer.explain(query, title)
    text = render_explanations(
        query, [explanation], explainer.query_weights(query), by_words=by_words, has_lexical=has_lexical
    )
    assert max(map(cell_len, text.splitlines())) <= LINE_WIDTH
    if explanation.attention:
        grid = text.rpartition("\n\n")[0] if explainer.query_weights(query) else text
        cells = grid_table(explanation.attention, by_words=by_words).cells
        lines = [line for line in grid.split("\n\n  attention")[0].splitlines() if line.startswith("  ")]
        shown = sum(len(re.findall(r"(?<= )(?:\.\d\d|1\.00)(?= |$)", line)) for line in lines)
        assert shown >= (cells >= 0.005).sum()


@pytest.mark.node
def test_an_explanation_agrees_with_a_search(client, encoder, explainer):
    """With the lexical score of a hit, the explained score is the score by which the search ranked it."""
    titles = ["fire tv stick", "fire pit", "tv table", "red tv", "fire tv cube"]
    with small_index(client, encoder, titles=titles) as index:
        body = {"query": {"match": {"title": "fire tv"}}}
        searcher = AnthemClient(client, encoder, ClientOptions(text_fields=DEFAULT_TEXT_FIELDS))
        lexical = {hit["_id"]: hit["_score"] for hit in client.search(index=index, body=body)["hits"]["hits"]}
        response = searcher.search(index, body)
        assert response["anthem"]["signals"] == ["lexical", "containment", "attention"]
        for hit in response["hits"]["hits"]:
            explained = explainer.explain("fire tv", hit["_source"]["title"], lexical[hit["_id"]])
            assert explained.score.score == pytest.approx(hit["_score"], rel=1e-5)


def test_the_command_prints_the_grid(run):
    """The text has a row per query word, the JSON the same cells, by words and by entities."""
    text = run(QUERY, TITLE, OTHER).stdout
    assert re.search(r"^ +DEWALT +20 +V +MAX +Cordless +Drill", text, re.MULTILINE)
    assert re.search(r"^ +dril .*\.\d\d", text, re.MULTILINE)
    assert "score" not in text.replace("lexical", "")
    value = json.loads(run(QUERY, TITLE, OTHER, "--json", "--lexical", "7.5", "--lexical", "0").stdout)
    assert [title["title"] for title in value["titles"]] == [TITLE, OTHER]
    attention = value["titles"][0]["attention"]
    assert np.sum(attention["words"]["cells"]) == pytest.approx(np.sum(attention["entities"]["cells"]))
    assert value["titles"][0]["score"]["lexical"] == 7.5
    assert "score " in run(QUERY, TITLE, "--lexical", "7.5").stdout


def test_entities_are_words_and_trigrams(run):
    """With --entities the rows are known words and trigrams."""
    assert re.search(r"^ +#dr ", run(QUERY, TITLE, "--entities").stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [("?!", TITLE), ("", TITLE)])
def test_a_query_without_letters_is_refused(run, arguments):
    """There is nothing to explain, and the message says so."""
    result = run(*arguments)
    assert result.exit_code == 4
    assert "has no letters or digits" in result.stderr


def test_a_title_without_letters_has_no_grid(run):
    """The other titles are explained all the same."""
    text = run(QUERY, "™", TITLE).stdout
    assert "no attention: the title has no words" in text
    assert "factor 1.000, from m +0.000: attention unknown, distance unknown" in text
    assert "Cordless" in text


def test_each_title_has_its_lexical_score(run):
    """Another number of lexical scores than titles is a usage error."""
    result = run(QUERY, TITLE, OTHER, "--lexical", "1")
    assert result.exit_code == 2
    assert "Give one --lexical per title" in result.stderr


def test_pictures_have_text_alternatives(run, tmp_path):
    """The PNG is a picture, the SVG is XML that loads nothing, and both say in words what they show."""
    pytest.importorskip("matplotlib", reason="the extra `pictures` is not installed")
    result = run(QUERY, TITLE, "US$ 5 $x$ <b>", "--png", "grid.png", "--svg", "grid.svg")
    assert result.exit_code == 0, result.stderr
    png = (tmp_path / "grid.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert b"Attention grids of the query" in png
    svg = (tmp_path / "grid.svg").read_text(encoding="utf-8")
    ET.fromstring(svg)
    assert "Attention grids of the query cordless dril 18v." in svg
    assert not re.search(r'(?:href|src)="http', svg)


@pytest.mark.parametrize(("kind", "join"), [("png", "union"), ("svg", "intersection"), ("svg", None)])
def test_the_map_is_drawn_with_its_words(run, tmp_path, kind, join):
    """The picture carries the words of the map, which the text prints too, with its errors; the SVG loads nothing."""
    pytest.importorskip("matplotlib", reason="the extra `pictures` is not installed")
    options = ["--with", "garden hose", *(["--join", join] if join else []), "--map", f"map.{kind}"]
    result = run(QUERY, TITLE, OTHER, "US$ 5 $x$ <b> & drill", "™", *options)
    assert result.exit_code == 0, result.stderr
    value = json.loads(run(QUERY, TITLE, OTHER, "US$ 5 $x$ <b> & drill", "™", *options, "--json").stdout)["map"]
    assert " ".join(value["description"].split()) in " ".join(result.stdout.split())
    assert "distances are wrong by" in value["description"]
    assert [point["title"] for point in value["points"]] == [TITLE, OTHER, "US$ 5 $x$ <b> & drill"]
    assert len(value["joins"]) == bool(join)
    picture = (tmp_path / f"map.{kind}").read_bytes()
    words = f"A map of “{QUERY}” and “garden hose” and 3 products."
    if kind == "svg":
        assert words in ET.fromstring(picture).find(".//{http://purl.org/dc/elements/1.1/}description").text
        assert not re.search(rb'(?:href|src)="http', picture)
    else:
        assert picture.startswith(b"\x89PNG")
        assert words.encode() in picture


def test_a_picture_is_small_and_bounded(run, tmp_path, recwarn, monkeypatch):
    """A PNG has a palette; many titles are cut and counted; letters that no font has are told without a warning."""
    drawn = pytest.importorskip("anthem_evaluation.explain.picture", reason="the extra `pictures` is not installed")
    monkeypatch.setattr(drawn, "MAX_DRAWN_TITLES", 2)
    result = run("drill 手机", TITLE, "手机", OTHER, "--png", "grid.png", "--svg", "grid.svg", "--map", "map.png")
    assert result.exit_code == 0, result.stderr
    assert "Picture: grid.png (the first 2 titles)" in result.stderr
    assert result.stderr.count("Some letters have no font here") in (0, 2)  # for each PNG
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    for content in ((tmp_path / name).read_bytes() for name in ("grid.png", "map.png")):
        assert content[25] == PALETTE_PNG
        assert len(content) < 80_000
    svg = "".join(ET.fromstring((tmp_path / "grid.svg").read_bytes()).itertext())
    assert "Attention: “drill 手机” (the first 2 of 3 titles)" in svg
    assert OTHER not in svg


def test_a_palette_keeps_fills_and_texts_apart(explainer):
    """Every colour that fills a part of a map or writes a name is in the PNG as it was drawn."""
    picture = pytest.importorskip(
        "anthem_evaluation.explain.map_picture", reason="the extra `pictures` is not installed"
    )
    from PIL import Image

    from anthem_evaluation.explain.figures import figure_bytes, figure_style

    shown = map_titles(explainer, ["drill", "cordless drill", "cordless drill 18v"], [TITLE, OTHER])
    with figure_style():
        figure = picture.draw_map(shown)
        content = figure_bytes(figure, "png", shown.description)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=160)
    true, reduced = (np.asarray(Image.open(each).convert("RGB")).astype(int) for each in (drawn, io.BytesIO(content)))
    inks = [tuple(bytes.fromhex(ink[1:])) for ink in picture.REGION_INKS[:3]]
    assert all((reduced == ink).all(-1).any() for ink in inks)
    fills, counts = np.unique(true.reshape(-1, 3), axis=0, return_counts=True)
    for fill in fills[counts > 1000]:
        assert (reduced[(true == fill).all(-1)] == fill).all()


def test_a_map_says_what_it_leaves_out(run):
    """Titles without letters, and those for which there is no room, are counted."""
    assert "The map shows" not in run(QUERY, TITLE, "--with", "drill").stdout
    text = run(QUERY, TITLE, "™", "", "--with", "drill").stdout
    assert "The map shows 1 of 3 titles: those with letters or digits." in " ".join(text.split())
    assert "\n(empty title)\n" in text


def test_bytes_that_are_no_text_are_question_marks(run, tmp_path):
    """A query or title that is not UTF-8 is explained and written as far as it can be read."""
    pytest.importorskip("jinja2", reason="the extra `pictures` is not installed")
    broken = b"\xff drill".decode("utf-8", "surrogateescape")
    result = run(broken, broken, "--with", f"{broken} bit", "--html", "page.html")
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'alt="A map of “? drill” and “? drill bit” and 1 product.' in page


def test_outputs_do_not_share_a_place(run, tmp_path):
    """A file is named once; a page on standard output sends the result to standard error."""
    pytest.importorskip("matplotlib", reason="the extra `pictures` is not installed")
    (tmp_path / "link.svg").symlink_to("grid.svg")
    for outputs in (("--svg", "grid.svg", "--html", "./grid.svg"), ("--svg", "link.svg", "--map", "grid.svg"),
                    ("--png", "-", "--html", "-")):  # fmt: skip
        result = run(QUERY, TITLE, *outputs)
        assert result.exit_code == 2
        assert "both name" in result.stderr
    page = run(QUERY, TITLE, "--html", "-", "--json")
    assert page.stdout.startswith("<!doctype html>")
    assert page.stdout.rstrip().endswith("</html>")
    assert json.loads(page.stderr.splitlines()[-1])["titles"][0]["title"] == TITLE
    assert "ends in .png or .svg" in run(QUERY, TITLE, "--map", "map.pdf").stderr
    assert "name them with --with" in run(QUERY, TITLE, "--join", "union").stderr
    assert run(QUERY, TITLE, "--with", "?!").exit_code == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.svg"]


def test_the_page_escapes_titles(run, tmp_path):
    """A title is text in the page, whatever it contains, and the page allows no script."""
    pytest.importorskip("jinja2", reason="the extra `pictures` is not installed")
    title = "<script>alert(1)</script> drill"
    assert run(QUERY, title, "--html", "page.html", "--lexical", "3").exit_code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; drill" in page
    assert "default-src 'none'" in page
    assert f'alt="A map of “{QUERY}” and 1 product.' in page


def test_a_file_that_cannot_be_written_is_named(run, tmp_path):
    """The command fails before it explains anything."""
    (tmp_path / "file").touch()
    result = run(QUERY, TITLE, "--html", "file/page.html")
    assert result.exit_code == 4
    assert "file/page.html cannot be written" in result.stderr
    assert not result.stdout
