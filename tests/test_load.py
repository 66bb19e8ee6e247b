"""Load on the search client and the service: right answers, no errors, clean refusals, and memory that stays flat."""

import importlib
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_sandbox.catalogue import generate_catalogue

sys.path.append(str(Path(__file__).resolve().parent.parent / "bench"))
load = importlib.import_module("load")

LOADS = ["search, cluster", "search, client", "/v1/rerank", "/rewrite"]


@pytest.fixture(scope="module")
def outcomes(cluster, encoder, proof, measured):
    """What came of every load, by name: 64 clients for 60 s each in full, 8 for 2 s in short."""
    asked = load.Load() if proof else load.Load(clients=8, seconds=2, questions=20)
    data = generate_catalogue(products=load.SHOP if proof else 600)
    found = [*load.on_clients(cluster, data, encoder, asked), *load.on_service(cluster, data, asked)]
    measured("load", **{one.name: vars(one) for one in found})
    return {one.name: one for one in found}


@pytest.mark.node
@pytest.mark.parametrize("name", LOADS)
def test_load_brings_right_answers_alone(outcomes, name):
    """Under load every answer is the one that is given without, and there is no other."""
    assert outcomes[name].errors == {}
    assert outcomes[name].refused == 0
    assert outcomes[name].answers >= outcomes[name].clients


@pytest.mark.node
def test_too_many_at_once_are_refused_cleanly(outcomes):
    """With room for an eighth of the clients some are told when to come back, and the others get right answers."""
    (crowded,) = (one for name, one in outcomes.items() if "room for" in name)
    assert crowded.errors == {}
    assert crowded.refused > 0
    assert crowded.answers > 0


@pytest.mark.node
def test_memory_stays_flat(outcomes, proof):
    """Over the last two thirds of a minute of load the process that serves does not grow."""
    if not proof:
        pytest.skip("two seconds say nothing about memory: --proof")
    assert all(outcomes[name].mb_per_minute < load.FLAT for name in LOADS)


def test_what_a_load_counts():
    """Right answers, wrong ones, refusals and errors are each counted as what they are."""
    lock, calls = threading.Lock(), [0]

    def ask(number):
        with lock:
            calls[0] += 1
            late = calls[0] > 4
        time.sleep(0.01)
        if late and number == 1:
            raise load.RefusedError
        if late and number == 2:
            raise OSError("gone")
        return (number, late and number == 3)

    found = load.press("some", ask, load.Load(clients=4, seconds=0.2, questions=4), 1)
    assert 0 < found.refused <= 4, "a client that is refused waits a second"
    assert set(found.errors) == {"WrongError", "OSError: gone"}
    assert found.answers > 1
    assert found.p50_ms >= 10


@given(st.floats(-50, 50), st.floats(0, 1000), st.integers(12, 60))
def test_the_slope_is_that_of_the_memory(per_minute, start, samples):
    """Memory that grows by so many MB a minute from the first third on is said to, whatever it did before."""
    noise = [(float(second), 999.0) for second in range(samples // 3)]
    grown = [(float(second), start + per_minute * second / 60) for second in range(samples // 3, samples)]
    assert load.slope(noise + grown) == pytest.approx(per_minute, abs=1e-6)
