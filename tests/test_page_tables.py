"""The tables of docs/quality.md."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytestmark = pytest.mark.train

import cells
import page_tables
import quality

QUALITY_PAGE = Path(__file__).resolve().parent.parent / "docs" / "quality.md"


def make_line(data, model, way, shift):
    """A line of results with both tasks in one way."""
    values = (
        np.random.default_rng(0).random(40) * 0.5 + shift + 0.01 * np.random.default_rng(int(100 * shift)).random(40)
    )
    keys = [f"{task}/{way}" for task in page_tables.TASKS]
    return {
        "data": data,
        "model": model,
        "seed": 0,
        "minutes": 0.0,
        "mean": {key: {} for key in keys},
        "per_query": {key: {page_tables.MEASURE: cells.pack_values(values)} for key in keys},
    }


def test_page_shows_the_tables_of_the_results():
    """docs/quality.md contains what `page` prints for bench/results/quality.jsonl: no number is copied by hand."""
    page = QUALITY_PAGE.read_text(encoding="utf-8")
    rendered = quality.render_all_page_tables(cells.RESULTS_FILE)
    assert page_tables.insert_tables(page, rendered) == page


def test_row_says_gain_and_corrected_p():
    """A better model has a star, a worse one a dagger; what is not measured is a dash."""
    lines = [make_line("esci", "bm25", "alone", 0.2), make_line("esci", "bge_small", "fused", 0.4)]
    lines.append(make_line("esci", "e5_small", "fused", 0.1))
    table = page_tables.render_page_tables(lines)["unseen"]
    row = next(row for row in table.splitlines() if "bge-small" in row)
    assert row.count("* (p = ") == 2
    assert next(row for row in table.splitlines() if "e5-small" in row).count("† (p = ") == 2
    assert page_tables.NOT_MEASURED in row
    general = next(row for row in table.splitlines() if "`general`, three signals" in row)
    assert general.count(page_tables.NOT_MEASURED) == 2 * len(page_tables.DATASETS) + 1


def test_best_baseline_is_the_best_in_each_column():
    """The row of the literature shows the model with the highest mean, and names it."""
    lines = [make_line("esci", "bm25", "alone", 0.1)]
    lines += [make_line("esci", "knrm", "fused", 0.2), make_line("esci", "dssm", "fused", 0.3)]
    table = page_tables.render_page_tables(lines)["trained"]
    row = next(row for row in table.splitlines() if page_tables.BEST_BASELINE_LABEL in row)
    assert row.count("(dssm, p = ") == 2


def test_gain_is_the_mean_over_datasets():
    """The last column is the mean difference to BM25, once all datasets are measured."""
    lines = [make_line(data, "bm25", "alone", 0.1) for data in page_tables.DATASETS]
    lines += [make_line(data, "lambdamart", "alone", 0.3) for data in page_tables.DATASETS]
    table = page_tables.render_page_tables(lines)["trained"]
    assert next(row for row in table.splitlines() if "LambdaMART" in row).endswith("| +0.200 / +0.200 |")


def test_insertion_keeps_the_text_around_the_table(tmp_path):
    """Only what is between the marks is replaced; inserting twice changes nothing; without marks it is an error."""
    page = "before\n<!-- table unseen -->\nold\n<!-- end -->\nbetween\n<!-- table trained -->\n<!-- end -->\n"
    page += "<!-- table geometry -->\n<!-- end -->\nafter\n"
    tables = {"unseen": "NEW", "trained": "TOO"}
    inserted = page_tables.insert_tables(page, tables)
    assert "old" not in inserted
    assert [inserted.index(part) for part in ("before", "NEW", "between", "TOO", "after")] == sorted(
        inserted.index(part) for part in ("before", "NEW", "between", "TOO", "after")
    )
    assert page_tables.insert_tables(inserted, tables) == inserted
    with pytest.raises(ValueError, match="unseen"):
        page_tables.insert_tables("no marks", tables)
    path = tmp_path / "page.md"
    path.write_text(page)
    assert CliRunner().invoke(quality.main, ["page", str(path), "--results", str(tmp_path / "none")]).exit_code == 0
    assert path.read_text().startswith("before\n<!-- table unseen -->\n\n|")
