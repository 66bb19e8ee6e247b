"""Writes judged queries for other tools: Quepid CSV, and query sets and judgments of Search Relevance Workbench."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from anthem_core.files import write_text
from anthem_evaluation.judgments import QUEPID_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anthem_evaluation.judgments import JudgedQueries

JUDGMENT_FILES = ("queries.tsv", "qrels.txt", "quepid.csv", "workbench-query-set.json", "workbench-judgments.json")


def write_judgment_files(judged: JudgedQueries, folder: Path, name: str) -> list[Path]:
    """Write the judgments as TREC, for Quepid and for Search Relevance Workbench into a folder; returns the paths.

    Raises:
        DataError: A file cannot be written.
    """
    contents = (
        "".join(f"{query}\t{' '.join(text.split())}\n" for query, text in judged.queries.items()),
        trec_qrels(judged),
        quepid_csv(judged),
        workbench_query_set(judged, name),
        workbench_judgments(judged, name),
    )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / file for file in JUDGMENT_FILES]
    for path, text in zip(paths, contents, strict=True):
        write_text(path, text)
    return paths


def trec_qrels(judged: JudgedQueries) -> str:
    """Judgments as TREC qrels, in whole grades; a space in an id, which the form cannot hold, becomes an underscore."""
    rows = ((query, product, grade) for query, grades in judged.qrels.items() for product, grade in grades.items())
    return "".join(f"{query} 0 {'_'.join(product.split())} {grade}\n" for query, product, grade in rows)


def quepid_csv(judged: JudgedQueries) -> str:
    """Judgments as Quepid imports them: a line per query text, product and grade."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(QUEPID_COLUMNS)
    for query, grades in judged.qrels.items():
        rows.writerows((judged.queries[query], p, _own_grade(g, judged.grade_unit)) for p, g in grades.items())
    return text.getvalue()


def workbench_query_set(judged: JudgedQueries, name: str) -> str:
    """Body of `PUT _plugins/_search_relevance/query_sets`."""
    texts = [{"queryText": text} for text in dict.fromkeys(judged.queries.values())]
    return _to_json({"name": name, "description": _DESCRIPTION, "sampling": "manual", "querySetQueries": texts})


def workbench_judgments(judged: JudgedQueries, name: str) -> str:
    """Body of `PUT _plugins/_search_relevance/judgments`."""
    ratings = [
        {
            "query": judged.queries[query],
            "ratings": [{"docId": p, "rating": str(g / judged.grade_unit)} for p, g in grades.items()],
        }
        for query, grades in judged.qrels.items()
    ]
    body = {"name": name, "description": _DESCRIPTION, "type": "IMPORT_JUDGMENT", "judgmentRatings": ratings}
    return _to_json(body)


def _own_grade(grade: int, unit: int) -> str:
    """A grade as it was read, before fractions were counted in units."""
    return str(grade) if unit == 1 else str(grade / unit)


_DESCRIPTION = "Written by anthem evaluate"


def _to_json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
