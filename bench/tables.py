"""Markdown tables of the comparison: means over seeds, and paired tests against one model."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_evaluation.metrics import paired_t_test
from cells import MODEL_NAMES, TEACHER_STARTED_MODELS, UNTRAINED_MODELS, cell_of_line, unpack_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

TABLE_MEASURES = ("nDCG@3", "nDCG@5", "nDCG@10", "AP", "RR")
TABLE_TITLES = {
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
SIGNIFICANCE_LEVEL = 0.05
COMPARISON_KEYS = ("judged/fused", "window/alone", "window/fused")
COMPARED_MODELS = ("anthem", "anthem_taught")
ANTHEM_MODELS = ("anthem", "e_anthem", *TEACHER_STARTED_MODELS)


def render_tables(lines: Iterable[dict[str, Any]], against: str) -> str:
    """All tables, data set by data set; a star marks a difference from `against` with p < 0.05 (paired t-test)."""
    groups = group_lines(lines)
    parts = []
    for data in dict.fromkeys(data for data, _ in groups):
        models = {model: found for (one, model), found in groups.items() if one == data}
        parts += [f"## {data}", build_cost_table(models)]
        parts += [build_comparison_table(models, key) for key in COMPARISON_KEYS]
        parts += [build_quality_table(models, key, title, against) for key, title in TABLE_TITLES.items()]
    return "\n\n".join(part for part in parts if part) + "\n"


def group_lines(lines: Iterable[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Lines by data set and model, in the order of the models; of lines with the same settings the last counts."""
    newest = {cell_of_line(line): line for line in lines}
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    places = {model: place for place, model in enumerate(MODEL_NAMES)}
    for cell in sorted(newest, key=lambda cell: (cell.data, places.get(cell.model, len(places)), cell.seed)):
        found[cell.data, cell.model].append(newest[cell])
    return dict(found)


def build_quality_table(models: Mapping[str, Sequence[dict[str, Any]]], key: str, title: str, against: str) -> str:
    """One task and way: a row a model, a column a measure, mean ± deviation over seeds; empty where none has it."""
    shown = {model: lines for model, lines in models.items() if all(key in line["mean"] for line in lines)}
    if not shown:
        return ""
    measures = [*TABLE_MEASURES, *(["Judged@10"] if key.startswith("window") else [])]
    other = shown.get(against)
    rows = [
        [model, str(len(lines)), *(_format_mean(lines, other, key, one) for one in measures)]
        for model, lines in shown.items()
    ]
    return f"**{title}**\n\n" + format_table(["model", "seeds", *measures], rows)


def build_comparison_table(models: Mapping[str, Sequence[dict[str, Any]]], key: str) -> str:
    """ANTHEM, from titles and from a teacher, beside E-ANTHEM and the best baseline trained on the same data.

    Empty where one of them is missing.
    """
    shown = {model: lines for model, lines in models.items() if key in lines[0]["mean"]}
    trained = {model: lines for model, lines in shown.items() if model not in (*UNTRAINED_MODELS, *ANTHEM_MODELS)}
    if not trained or not shown.keys() >= {*COMPARED_MODELS, "e_anthem"}:
        return ""
    rows = []
    for measure in TABLE_MEASURES:
        best = max(trained, key=lambda model: mean_values_per_query(trained[model], key, measure).mean())
        rows += [
            [
                measure,
                ours,
                *(_format_gain(models[ours], models[other], key, measure) for other in ("e_anthem", best)),
                best,
            ]
            for ours in COMPARED_MODELS
        ]
    heads = ["", "", "above E-ANTHEM", "above the best baseline", "which is"]
    return (
        f"**{TABLE_TITLES[key]}: beside E-ANTHEM and the best baseline trained on the same data**\n\n"
        + format_table(heads, rows)
    )


def _format_gain(lines: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], key: str, measure: str) -> str:
    first, second = (mean_values_per_query(one, key, measure).mean() for one in (lines, other))
    return f"{first / second - 1:+.1%} (p = {paired_p_value(lines, other, key, measure):.2g})"


def build_cost_table(models: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Parameters, size, time for a hundred candidates, and CPU seconds of the training."""
    rows = [[model, *_format_costs(lines)] for model, lines in models.items() if "parameters" in lines[0]]
    return format_table(["model", "parameters", "MB", "ms / 100 candidates", "CPU s"], rows) if rows else ""


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def mean_values_per_query(lines: Sequence[dict[str, Any]], key: str, measure: str) -> Array:
    """Each query's value, the mean over seeds, `(Q,)`."""
    found: Array = np.mean([unpack_values(line["per_query"][key][measure]) for line in lines], axis=0)
    return found


def paired_p_value(lines: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], key: str, measure: str) -> float:
    """Two-sided p of the paired t-test over queries between two models."""
    _, p = paired_t_test(mean_values_per_query(lines, key, measure) - mean_values_per_query(other, key, measure))
    return p


def _format_mean(
    lines: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]] | None, key: str, measure: str
) -> str:
    means = [float(unpack_values(line["per_query"][key][measure]).mean()) for line in lines]
    spread = f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
    tested = other is not None and other is not lines and key in other[0]["per_query"]
    star = "*" if tested and other and paired_p_value(lines, other, key, measure) < SIGNIFICANCE_LEVEL else ""
    return f"{np.mean(means):.4f}{star}{spread}"


def _format_costs(lines: Sequence[dict[str, Any]]) -> list[str]:
    first = lines[0]
    time, seconds = (np.median([line[name] for line in lines]) for name in ("ms_per_100", "seconds"))
    return [f"{first['parameters']:,}", f"{first['megabytes']:.1f}", f"{time:.1f}", f"{seconds:.0f}"]
