"""Bundles damaged at random: each loads and encodes, or is refused by one sentence that says what was found."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import MANIFEST_FILE, TRIGRAMS_FILE, list_bundle_files, load_bundle
from anthem_core.encoding.encoder import Encoder, open_session
from anthem_core.errors import BundleError
from anthem_plugin.scoring.params import ScoringParams

FEW = settings(max_examples=settings().max_examples // 4)  # each example reads graphs
HUGE = ["1e999", "-1e999", "1" + "0" * 400, "NaN", "Infinity", "1.5", "-1", "0", "true", '"1"', "null", "[]", "{}"]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda node: st.lists(node, max_size=3) | st.dictionaries(st.text(max_size=8), node, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    """A copy of the bundle that ships, each file of which is damaged and mended in turn."""
    return Path(shutil.copytree(bundle.path, tmp_path_factory.mktemp("fuzz") / "bundle"))


class Damaged:
    """A file with other content for a while."""

    def __init__(self, path, content):
        self.path, self.content, self.whole = path, content, path.read_bytes()

    def __enter__(self):
        self.path.write_bytes(self.content)

    def __exit__(self, *_):
        self.path.write_bytes(self.whole)


def refusal(use):
    """The sentence by which a use of a bundle is refused, or None."""
    try:
        use()
    except BundleError as error:
        return str(error)
    return None


def work(folder):
    """Load a bundle and use all of it."""
    encoder = Encoder(loaded := load_bundle(folder))
    ScoringParams.of(loaded)
    query, points = encoder.query("fire tv"), encoder.products(["fire tv"])
    scores = AttentionScorer(loaded).scores("fire tv", ["fire tv"]) if loaded.attends else np.zeros(1)
    assert all(np.isfinite(part).all() for part in (query.centres, query.limits, points, scores))


@dataclass(frozen=True)
class Damage:
    """Bytes lost from a place on, and junk in their stead."""

    place: float
    lost: int
    junk: bytes

    def __call__(self, content):
        """The content damaged."""
        place = int(self.place * len(content))
        damaged = content[:place] + self.junk + content[place + self.lost :]
        assume(damaged != content)
        return damaged


damages = st.builds(Damage, st.floats(0, 1), st.integers(0, 99) | st.just(2**32), st.binary(max_size=20))


@given(data=st.data(), damage=damages)
def test_a_damaged_file_is_refused(folder, data, damage):
    """Whatever happens to graphs and vocabulary, the sum in the manifest tells, and the file is named."""
    path = folder / data.draw(st.sampled_from(list_bundle_files(folder)))
    with Damaged(path, damage(path.read_bytes())):
        refused = refusal(lambda: work(folder))
    assert path.name in refused


@given(damage=damages)
def test_a_damaged_manifest_is_refused_or_read(folder, damage):
    """A manifest of which some bytes changed is refused in a sentence, or still describes a bundle that works."""
    path = folder / MANIFEST_FILE
    with Damaged(path, damage(path.read_bytes())):
        refused = refusal(lambda: work(folder))
    assert refused is None or str(folder) in refused


def nodes(value, path=()):
    """Paths of all values in a manifest."""
    yield path
    for key in value if isinstance(value, dict) else ():
        yield from nodes(value[key], (*path, key))


@FEW
@given(data=st.data())
def test_an_odd_manifest_is_refused_or_read(folder, data):
    """A value that is missing, of another type or past all bounds is refused, or describes a bundle that works."""
    manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    odd = copy.deepcopy(manifest)
    *way, last = data.draw(st.sampled_from([path for path in nodes(manifest) if path]))
    holder = odd
    for key in way:
        holder = holder[key]
    spelt = data.draw(st.none() | st.sampled_from(HUGE) | values.map(json.dumps))
    if spelt is None:
        del holder[last]
    else:
        holder[last] = "here"
    content = json.dumps(odd).replace('"here"', spelt or "")
    with Damaged(folder / MANIFEST_FILE, content.encode()):
        refused = refusal(lambda: work(folder))
    assert refused is None or str(folder) in refused
    assert refused is None or len(refused) < 2000


@FEW
@given(data=st.data(), damage=damages)
def test_a_damaged_graph_opens_or_is_refused(folder, data, damage):
    """Where no sum is looked at, ONNX Runtime opens what is left of a graph, or its fault comes as ours."""
    path = folder / data.draw(st.sampled_from([name for name in list_bundle_files(folder) if name != TRIGRAMS_FILE]))
    with Damaged(path, damage(path.read_bytes())):
        refused = refusal(lambda: open_session(path).get_inputs())
    assert refused is None or str(path) in refused
