"""Selection of the smallest values in blocks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.geometry.selection import smallest


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 300), st.integers(1, 9), st.booleans())
def test_the_smallest_values_are_those_of_a_search_among_all(seed, total, count, ties):
    """The selected values are the smallest of the row, ascending, at different indices, also with ties."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, total, generator=generator)
    if ties:
        values = values.round()
    indices = smallest(values, count)
    expected = torch.topk(values, min(count, total), largest=False).values
    assert torch.equal(values.gather(1, indices), expected)
    assert all(len(set(row)) == len(row) for row in indices.tolist())
