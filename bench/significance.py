"""The test of the comparison: a two-sided paired t-test over queries, with Holm's correction over a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from anthem_evaluation.metrics import paired_t_test
from cells import unpack_values

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from typing import Any, TypeVar

    import numpy.typing as npt

    Key = TypeVar("Key", bound=Hashable)

Array: TypeAlias = "npt.NDArray[np.float64]"
SeedLines: TypeAlias = "Sequence[dict[str, Any]]"  # lines of one model on one dataset, one per seed

SIGNIFICANCE_LEVEL = 0.05


def correct_by_holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's step-down correction of a family of m p-values, `max over j ≤ i of min(1, (m − j + 1)·p_j)`.

    The p-values are numbered from the smallest, 1 to m. If every hypothesis with a result below α is rejected, the
    probability of any wrong rejection is at most α, however the tests depend on each other.
    """
    corrected: dict[Key, float] = {}
    largest = 0.0
    for rank, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        corrected[key] = largest
    return {key: corrected[key] for key in p_values}


def mean_values_per_query(lines: SeedLines, key: str, measure: str) -> Array:
    """Value of every query, averaged over seeds, `(Q,)`."""
    values: Array = np.mean([unpack_values(line["per_query"][key][measure]) for line in lines], axis=0)
    return values


def paired_p_value(lines: SeedLines, reference: SeedLines, key: str, measure: str) -> float:
    """Two-sided p-value of the paired t-test over queries between two models, before any correction."""
    _, p = paired_t_test(mean_values_per_query(lines, key, measure) - mean_values_per_query(reference, key, measure))
    return p
