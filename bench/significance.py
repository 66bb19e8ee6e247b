"""The test of the comparison: a two-sided paired t-test over queries, with Holm's correction over a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from anthem_evaluation.metrics import paired_t_test
from cells import unpack_values

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[np.float64]"
SeedLines: TypeAlias = "Sequence[dict[str, Any]]"  # lines of one model on one dataset, one per seed


def mean_values_per_query(lines: SeedLines, key: str, measure: str) -> Array:
    """Value of every query, averaged over seeds, `(Q,)`."""
    values: Array = np.mean([unpack_values(line["per_query"][key][measure]) for line in lines], axis=0)
    return values


def paired_p_value(lines: SeedLines, reference: SeedLines, key: str, measure: str) -> float:
    """Two-sided p-value of the paired t-test over queries between two models, before any correction."""
    _, p = paired_t_test(mean_values_per_query(lines, key, measure) - mean_values_per_query(reference, key, measure))
    return p
