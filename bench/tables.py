"""Markdown tables of the comparison: means over seeds, and paired tests against one model."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from cells import MODELS, TAUGHT, UNTRAINED, cell_of, unpack

from anthem_evaluation.metrics import paired

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

MEASURES = ("nDCG@3", "nDCG@5", "nDCG@10", "AP", "RR")
KEYS = {
    "judged/alone": "Judged products ordered, model alone",
    "judged/fused": "Judged products ordered, model and BM25",
    "window/alone": "BM25's first 100 reordered, model alone",
    "window/fused": "BM25's first 100 reordered, model and BM25",
    "judged/without_attention": "Judged products ordered, without attention, as the cluster does",
    "window/without_attention": "BM25's first 100 reordered, without attention, as the cluster does",
    "judged/attention_alone": "Judged products ordered, attention alone",
    "judged/attention_fused": "Judged products ordered, attention and BM25",
    "judged/containment_alone": "Judged products ordered, containment alone",
    "judged/containment_fused": "Judged products ordered, containment and BM25",
    "window/attention_alone": "BM25's first 100 reordered, attention alone",
    "window/attention_fused": "BM25's first 100 reordered, attention and BM25",
    "window/containment_alone": "BM25's first 100 reordered, containment alone",
    "window/containment_fused": "BM25's first 100 reordered, containment and BM25",
}
SURE = 0.05
RIVALS = ("judged/fused", "window/alone", "window/fused")
COMPARED = ("anthem", "anthem_taught")
OURS = ("anthem", "e_anthem", *TAUGHT)


def markdown(lines: Iterable[dict[str, Any]], against: str) -> str:
    """All tables, data set by data set; a star marks a difference from `against` with p < 0.05 (paired t-test)."""
    groups = grouped(lines)
    parts = []
    for data in dict.fromkeys(data for data, _ in groups):
        models = {model: found for (one, model), found in groups.items() if one == data}
        parts += [f"## {data}", cost_table(models)]
        parts += [rivals_table(models, key) for key in RIVALS]
        parts += [quality_table(models, key, title, against) for key, title in KEYS.items()]
    return "\n\n".join(part for part in parts if part) + "\n"


def grouped(lines: Iterable[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Lines by data set and model, in the order of the models; of lines with the same settings the last counts."""
    newest = {cell_of(line): line for line in lines}
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    places = {model: place for place, model in enumerate(MODELS)}
    for cell in sorted(newest, key=lambda cell: (cell.data, places.get(cell.model, len(places)), cell.seed)):
        found[cell.data, cell.model].append(newest[cell])
    return dict(found)


def quality_table(models: Mapping[str, Sequence[dict[str, Any]]], key: str, title: str, against: str) -> str:
    """One task and way: a row a model, a column a measure, mean ± deviation over seeds; empty where none has it."""
    shown = {model: lines for model, lines in models.items() if all(key in line["mean"] for line in lines)}
    if not shown:
        return ""
    measures = [*MEASURES, *(["Judged@10"] if key.startswith("window") else [])]
    other = shown.get(against)
    rows = [
        [model, str(len(lines)), *(_cell(lines, other, key, one) for one in measures)] for model, lines in shown.items()
    ]
    return f"**{title}**\n\n" + table(["model", "seeds", *measures], rows)


def rivals_table(models: Mapping[str, Sequence[dict[str, Any]]], key: str) -> str:
    """ANTHEM, from titles and from a teacher, beside E-ANTHEM and the best baseline trained on the same data.

    Empty where one of them is missing.
    """
    shown = {model: lines for model, lines in models.items() if key in lines[0]["mean"]}
    trained = {model: lines for model, lines in shown.items() if model not in (*UNTRAINED, *OURS)}
    if not trained or not shown.keys() >= {*COMPARED, "e_anthem"}:
        return ""
    rows = []
    for measure in MEASURES:
        best = max(trained, key=lambda model: values(trained[model], key, measure).mean())
        rows += [
            [measure, ours, *(_ahead(models[ours], models[other], key, measure) for other in ("e_anthem", best)), best]
            for ours in COMPARED
        ]
    heads = ["", "", "above E-ANTHEM", "above the best baseline", "which is"]
    return f"**{KEYS[key]}: beside E-ANTHEM and the best baseline trained on the same data**\n\n" + table(heads, rows)


def _ahead(lines: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], key: str, measure: str) -> str:
    first, second = (values(one, key, measure).mean() for one in (lines, other))
    return f"{first / second - 1:+.1%} (p = {p_value(lines, other, key, measure):.2g})"


def cost_table(models: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Parameters, size, time for a hundred candidates, and CPU seconds of the training."""
    rows = [[model, *_costs(lines)] for model, lines in models.items() if "parameters" in lines[0]]
    return table(["model", "parameters", "MB", "ms / 100 candidates", "CPU s"], rows) if rows else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def values(lines: Sequence[dict[str, Any]], key: str, measure: str) -> Array:
    """Each query's value, the mean over seeds, `(Q,)`."""
    found: Array = np.mean([unpack(line["per_query"][key][measure]) for line in lines], axis=0)
    return found


def p_value(lines: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], key: str, measure: str) -> float:
    """Two-sided p of the paired t-test over queries between two models."""
    _, p = paired(values(lines, key, measure) - values(other, key, measure))
    return p


def _cell(lines: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]] | None, key: str, measure: str) -> str:
    means = [float(unpack(line["per_query"][key][measure]).mean()) for line in lines]
    spread = f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
    tested = other is not None and other is not lines and key in other[0]["per_query"]
    star = "*" if tested and other and p_value(lines, other, key, measure) < SURE else ""
    return f"{np.mean(means):.4f}{star}{spread}"


def _costs(lines: Sequence[dict[str, Any]]) -> list[str]:
    first = lines[0]
    time, seconds = (np.median([line[name] for line in lines]) for name in ("ms_per_100", "seconds"))
    return [f"{first['parameters']:,}", f"{first['megabytes']:.1f}", f"{time:.1f}", f"{seconds:.0f}"]
