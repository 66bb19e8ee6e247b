"""Tables in bytes: how much rounding changes, and that rounding again changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.nn.byte_tables import MAX_CODE, MIN_SCALE, ByteTable, encode_table
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

seeds = st.integers(0, 2**31)
magnitudes = st.floats(-7, 4).map(lambda exponent: 10**exponent)


def build_table(seed, magnitude, rows=8, columns=12):
    """Random rows whose magnitudes differ by up to a factor of a million; the last is zero."""
    random = torch.Generator().manual_seed(seed)
    spread = 10 ** (3 * torch.rand(rows, 1, generator=random) - 3)
    table = magnitude * spread * torch.randn(rows, columns, generator=random)
    table[-1] = 0
    return table


def are_equal(left, right):
    """Whether two tables have the same bytes."""
    return torch.equal(left.codes, right.codes) and torch.equal(left.scales, right.scales)


@given(seeds, magnitudes)
def test_a_decoded_table_has_the_same_bytes(seed, magnitude):
    """Encoding a decoded table gives the same codes and scales, for numbers of any size."""
    table = encode_table(build_table(seed, magnitude))
    assert are_equal(encode_table(table.decode()), table)


@given(seeds, magnitudes, st.floats(-1e-6, 1e-6))
def test_rounding_errors_of_float32_do_not_change_the_bytes(seed, magnitude, error):
    """A decoded table that was mapped to the hyperboloid and back, which changes last digits, has the same bytes."""
    table = encode_table(build_table(seed, magnitude))
    assert are_equal(encode_table(table.decode() * (1 + error)), table)


@given(seeds, magnitudes)
def test_the_error_is_half_a_scale_at_most(seed, magnitude):
    """A number changes by half its row's scale at most, which is 1/254 of the largest of the row."""
    values = build_table(seed, magnitude)
    table = encode_table(values)
    assert ((table.decode() - values).abs() <= 0.501 * table.scales.float()).all()
    largest = values.abs().amax(dim=1, keepdim=True)
    assert (table.scales.float() <= (largest / MAX_CODE * 1.001).clamp_min(MIN_SCALE)).all()


@given(seeds, magnitudes)
def test_zeros_stay_zero_and_signs_stay(seed, magnitude):
    """A zero row is decoded to zeros, and the codes of opposite rows are opposite."""
    values = build_table(seed, magnitude)
    table = encode_table(values)
    assert not table.decode()[-1].any()
    assert are_equal(encode_table(-values), ByteTable(-table.codes, table.scales))


@given(seeds, st.sampled_from(["lorentz", "euclid"]))
@torch.no_grad()
def test_rounding_a_model_twice_changes_nothing(seed, geometry):
    """A rounded model is not changed by a single bit, whatever the lengths of its entities."""
    torch.manual_seed(seed)
    model = Anthem(ModelShape(ids=30, dimension=8, grid=4, places=9, geometry=geometry))
    space = model.shape.space
    lengths = 10 ** (5 * torch.rand(30, 1) - 5)
    model.entities.points.copy_(space.expmap0(lengths * space.logmap0(model.entities.points)))
    model.round_tables()
    once = {name: value.clone() for name, value in model.state_dict().items()}
    model.round_tables()
    assert all(torch.equal(value, once[name]) for name, value in model.state_dict().items())
