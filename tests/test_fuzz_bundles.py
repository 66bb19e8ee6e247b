"""Randomly damaged bundles: each one either works or is refused with a message that names the damage."""

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

FEWER_EXAMPLES = settings(max_examples=settings().max_examples // 4)  # each example reads graphs
EXTREME_LITERALS = [
    "1e999",
    "-1e999",
    "1" + "0" * 400,
    "NaN",
    "Infinity",
    "1.5",
    "-1",
    "0",
    "true",
    '"1"',
    "null",
    "[]",
    "{}",
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda node: st.lists(node, max_size=3) | st.dictionaries(st.text(max_size=8), node, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    """A copy of the shipped bundle whose files are damaged and restored one after the other."""
    return Path(shutil.copytree(bundle.path, tmp_path_factory.mktemp("fuzz") / "bundle"))


class Damaged:
    """Context in which a file has other content."""

    def __init__(self, path, content):
        self.path, self.content, self.original = path, content, path.read_bytes()

    def __enter__(self):
        self.path.write_bytes(self.content)

    def __exit__(self, *_):
        self.path.write_bytes(self.original)


def refusal(action):
    """Message of the BundleError that an action raises, or None."""
    try:
        action()
    except BundleError as error:
        return str(error)
    return None


def use_bundle(folder):
    """Load a bundle and use all of its parts."""
    encoder = Encoder(loaded := load_bundle(folder))
    ScoringParams.from_bundle(loaded)
    query, points = encoder.encode_query("fire tv"), encoder.encode_products(["fire tv"])
    scores = AttentionScorer(loaded).score_titles("fire tv", ["fire tv"]) if loaded.has_attention else np.zeros(1)
    assert all(np.isfinite(values).all() for values in (query.centres, query.limits, points, scores))


@dataclass(frozen=True)
class Damage:
    """Bytes that are replaced by junk, from a relative position on."""

    position: float
    length: int
    junk: bytes

    def __call__(self, content):
        """The damaged content."""
        start = int(self.position * len(content))
        damaged = content[:start] + self.junk + content[start + self.length :]
        assume(damaged != content)
        return damaged


damages = st.builds(Damage, st.floats(0, 1), st.integers(0, 99) | st.just(2**32), st.binary(max_size=20))


@given(data=st.data(), damage=damages)
def test_a_damaged_file_is_refused(folder, data, damage):
    """Any change to a graph or the vocabulary is detected by its checksum, and the message names the file."""
    path = folder / data.draw(st.sampled_from(list_bundle_files(folder)))
    with Damaged(path, damage(path.read_bytes())):
        message = refusal(lambda: use_bundle(folder))
    assert path.name in message


@given(damage=damages)
def test_a_damaged_manifest_is_refused_or_read(folder, damage):
    """A manifest with changed bytes is refused, or still describes a bundle that works."""
    path = folder / MANIFEST_FILE
    with Damaged(path, damage(path.read_bytes())):
        message = refusal(lambda: use_bundle(folder))
    assert message is None or str(folder) in message


def value_paths(value, path=()):
    """Paths of all values in a manifest."""
    yield path
    for key in value if isinstance(value, dict) else ():
        yield from value_paths(value[key], (*path, key))


@FEWER_EXAMPLES
@given(data=st.data())
def test_an_odd_manifest_is_refused_or_read(folder, data):
    """A manifest with a missing, mistyped or extreme value is refused, or describes a bundle that works."""
    manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    odd = copy.deepcopy(manifest)
    *parents, last = data.draw(st.sampled_from([path for path in value_paths(manifest) if path]))
    container = odd
    for key in parents:
        container = container[key]
    literal = data.draw(st.none() | st.sampled_from(EXTREME_LITERALS) | values.map(json.dumps))
    if literal is None:
        del container[last]
    else:
        container[last] = "placeholder"
    content = json.dumps(odd).replace('"placeholder"', literal or "")
    with Damaged(folder / MANIFEST_FILE, content.encode()):
        message = refusal(lambda: use_bundle(folder))
    assert message is None or str(folder) in message
    assert message is None or len(message) < 2000


@FEWER_EXAMPLES
@given(data=st.data(), damage=damages)
def test_a_damaged_graph_opens_or_is_refused(folder, data, damage):
    """Without the checksum, ONNX Runtime opens a damaged graph or its error becomes a BundleError."""
    path = folder / data.draw(st.sampled_from([name for name in list_bundle_files(folder) if name != TRIGRAMS_FILE]))
    with Damaged(path, damage(path.read_bytes())):
        message = refusal(lambda: open_session(path).get_inputs())
    assert message is None or str(path) in message
