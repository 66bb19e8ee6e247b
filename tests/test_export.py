"""A checkpoint becomes a bundle that computes what the model computes, or nothing is written."""

import json
import re
import shutil
import site
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from anthem_core.beir import Dataset, Product, write_dataset
from anthem_core.cli import main
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import ATTENTION_GRAPH, PRODUCT_GRAPH, QUERY_GRAPH, REQUIRED_FILES, load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.errors import BundleError, ParityError
from anthem_core.fusion import FusionWeights

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

import onnx

from anthem_exporter.export import export_bundle
from anthem_exporter.parity import (
    PARITY_BATCH_SIZES,
    PARITY_TOLERANCE,
    check_parity,
    parity_texts,
)
from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.calibration import Calibration
from anthem_model.checkpoint import Checkpoint
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem, QueryEncoder

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

VOCABULARY = Vocabulary(("#re", "red", "ed#"), buckets=46, query_limit=12, title_limit=20)
FEW = ["red kettle", "", "Kühlschrank", "!?", "a"]


def checkpoint(seed=0):
    """A tiny model with random weights."""
    torch.manual_seed(seed)
    model = Anthem(ModelShape(ids=len(VOCABULARY), dimension=8, hyperboloids=2, places=VOCABULARY.title_limit)).eval()
    model.round()
    fusions = (FusionWeights(0.0, 4.0, 3.0, 10.0, 1.0), FusionWeights(0.0, 4.0, 3.0, 10.0, 1.0, 2.0, -0.5))
    return Checkpoint(model, VOCABULARY, Calibration(0.25, *fusions), ["tiny"], {"ndcg": 0.5})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The tiny model's bundle and its parity report on a thousand texts."""
    return export_bundle(checkpoint(), tmp_path_factory.mktemp("export") / "bundle", parity_texts())


@pytest.fixture
def folder(exported, tmp_path):
    """A copy of the tiny bundle, free to be damaged."""
    return Path(shutil.copytree(exported[0].path, tmp_path / "bundle"))


def content(folder):
    """Bytes of every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_parity_on_a_thousand_texts(exported):
    """All graphs were compared on a thousand texts, in batches of 1, 7 and 64, and differ by rounding alone."""
    _, report = exported
    assert report.passed
    assert report.batches == PARITY_BATCH_SIZES == (1, 7, 64)
    assert [graph.graph for graph in report.graphs] == [QUERY_GRAPH, PRODUCT_GRAPH, ATTENTION_GRAPH]
    for graph in report.graphs:
        assert graph.texts >= 1000
        assert graph.faults == []
        assert max(graph.differences.values()) <= PARITY_TOLERANCE
    assert json.loads(json.dumps(report.to_dict()))["passed"] is True


def test_the_bundle_says_what_the_checkpoint_says(exported):
    """Sizes, vocabulary, slack, fusion, sources and quality come over, and the model card is there."""
    bundle, report = exported
    wanted = checkpoint()
    assert (bundle.dimension, bundle.hyperboloids) == (8, 2)
    assert (bundle.radius, bundle.gamma) == (wanted.model.shape.radius, wanted.model.shape.gamma)
    assert bundle.vocabulary == wanted.vocabulary
    assert (bundle.slack, bundle.trained_on, bundle.quality) == (0.25, ["tiny"], {"ndcg": 0.5})
    assert list(bundle.fusion.values()) == [wanted.calibration.fusion, wanted.calibration.attentive]
    assert {"torch", "onnxruntime", "anthem-search"} <= bundle.versions.keys()
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert bundle.model in card
    assert str(report) in card


def test_the_encoder_computes_what_the_model_computes(exported):
    """Through text and ONNX Runtime come the points that torch computes."""
    bundle, _ = exported
    wanted = AnthemRanker(VOCABULARY, checkpoint().model).eval().points(FEW).numpy()
    np.testing.assert_allclose(Encoder(bundle).products(FEW), wanted, atol=1e-5)


def test_attention_computes_what_the_model_computes(exported):
    """Through text and ONNX Runtime come the scores and the grid that torch computes."""
    bundle, _ = exported
    ranker = AnthemRanker(VOCABULARY, checkpoint().model).eval()
    wanted = ranker.signals("red kettle", FEW, ranker.points(FEW)).attention.numpy()
    found = AttentionScorer(bundle).scores("red kettle", FEW)
    words = [place for place, text in enumerate(FEW) if VOCABULARY.title_ids(text)]
    np.testing.assert_allclose(found[words], wanted[words], atol=1e-5)


def test_the_same_checkpoint_gives_the_same_bytes(exported, tmp_path):
    """A second export, which replaces another bundle, is identical to the first in every byte of what it computes."""
    bundle, _ = exported
    place = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    (place / QUERY_GRAPH).write_bytes(b"old")
    again, _ = export_bundle(checkpoint(), place, FEW)
    assert again.model == bundle.model
    for name in (*REQUIRED_FILES, "manifest.json"):
        assert (place / name).read_bytes() == (bundle.path / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_nothing_of_the_machine_is_in_a_bundle(exported):
    """No file names the folder of the process, a home, the libraries or the source they were exported from."""
    traces = {str(Path.cwd()), str(Path.home()), *site.getsitepackages(), "site-packages", "network.py", "Traceback"}
    for name, held in content(exported[0].path).items():
        for trace in traces:
            assert trace.encode() not in held, f"{trace} in {name}"


@pytest.mark.parametrize("file", [QUERY_GRAPH, PRODUCT_GRAPH, ATTENTION_GRAPH])
def test_parity_fails_on_another_weight(folder, file):
    """A weight changed after the export is found, with the output and the difference."""
    changed = checkpoint().model
    part = {QUERY_GRAPH: changed.query, PRODUCT_GRAPH: changed.product, ATTENTION_GRAPH: changed.grid}[file]
    with torch.no_grad():
        part.context.mix.bias.add_(0.1)
    with pytest.raises(ParityError, match=rf"(?s){re.escape(file)}.*FAULT \w+ differs by .*, allowed 1e-05") as caught:
        check_parity(changed, VOCABULARY, folder, FEW)
    assert caught.value.exit_code == 7


def rename_output(graph):
    """Call the first output something else."""
    old = graph.output[0].name
    graph.output[0].name = "renamed"
    for node in graph.node:
        node.output[:] = ["renamed" if name == old else name for name in node.output]
        node.input[:] = ["renamed" if name == old else name for name in node.input]


def rename_input(graph):
    """Call the first input something else."""
    old = graph.input[0].name
    graph.input[0].name = "renamed"
    for node in graph.node:
        node.input[:] = ["renamed" if name == old else name for name in node.input]


def fix_axis(graph):
    """Let the length be 7, always."""
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (rename_output, r"outputs \('renamed'.* where \('points'"),
        (rename_input, r"inputs \('renamed', 'mask'\) where \('trigrams', 'mask'\) were wanted"),
        (fix_axis, r"input trigrams has a fixed axis: \['\w+', 7\]"),
    ],
)
def test_parity_fails_on_another_signature(folder, damage, wanted):
    """A graph whose names or axes are not the bundle's is refused before anything is computed."""
    path = folder / PRODUCT_GRAPH
    model = onnx.load(path)
    damage(model.graph)
    onnx.save(model, path)
    with pytest.raises(ParityError, match=f"(?s)FAULT {wanted}"):
        check_parity(checkpoint().model, VOCABULARY, folder, FEW)


class Untrue(QueryEncoder):
    """A query encoder that computes something else while it is exported."""

    def forward(self, trigrams, mask):
        """Encode, with larger limits in the graph than in torch."""
        found = super().forward(trigrams, mask)
        return found._replace(limits=found.limits + 0.01) if torch.compiler.is_exporting() else found


def test_an_export_that_fails_leaves_the_old_bundle(folder):
    """When parity fails the old bundle stays, byte for byte, and no half of the new one is left beside it."""
    before = content(folder)
    untrue = checkpoint()
    untrue.model.query.__class__ = Untrue
    with pytest.raises(ParityError, match=r"(?s)FAULT limits differs by 1\.0e-02.*Nothing was exported"):
        export_bundle(untrue, folder, FEW)
    assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    """A folder that holds no bundle is not replaced."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="which is no bundle's; give an empty folder"):
        export_bundle(checkpoint(), tmp_path, FEW)
    assert content(tmp_path) == {"thesis.txt": b"years of work"}


@pytest.fixture(scope="module")
def beir(tmp_path_factory):
    """A BEIR folder of thirty products and thirty judged queries."""
    names = [f"{colour} {thing}" for colour in ("red", "blue", "black") for thing in THINGS]
    products = {f"p{number}": Product(f"p{number}", name) for number, name in enumerate(names)}
    queries = {f"q{number}": name for number, name in enumerate(names)}
    qrels = {f"q{number}": {f"p{number}": 3, f"p{(number + 1) % 30}": 0} for number in range(30)}
    folder = tmp_path_factory.mktemp("data") / "shop"
    write_dataset(Dataset(products, queries, {"train": qrels}), folder)
    return folder


THINGS = ("teapot", "kettle", "lamp", "mug", "desk", "chair", "shoe", "shirt", "phone", "cable")


def test_from_a_folder_to_a_bundle(beir, tmp_path):
    """`anthem train`, then `anthem export`, give a bundle that loads and encodes; --json is one object each time."""
    runner, model, folder = CliRunner(), str(tmp_path / "shop.pt"), str(tmp_path / "bundle")
    trained = runner.invoke(main, ["train", str(beir), "--output", model, "--steps", "3", "--json"])
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["checkpoint"] == model
    corpus = str(beir / "corpus.jsonl.gz")
    written = runner.invoke(main, ["export", model, folder, "--corpus", corpus, "--json"])
    assert written.exit_code == 0, written.output
    value = json.loads(written.stdout)
    bundle = load_bundle(folder)
    assert value["model"] == bundle.model
    assert value["parity"]["passed"] is True
    assert bundle.trained_on == ["shop"]
    assert Encoder(bundle).query("red teapot") is not None


def test_missing_data_exits_4(tmp_path):
    """A folder, a checkpoint or a place to write that does not exist is exit code 4, with the cure in the message."""
    runner = CliRunner()
    none, place = str(tmp_path / "none"), str(tmp_path / "x.pt")
    for words in (["train", none, "--output", place], ["export", none, place]):
        result = runner.invoke(main, words)
        assert result.exit_code == 4
        assert none in result.stderr
        assert result.stdout == ""


def test_a_place_that_cannot_be_written_is_refused_before_training(beir, tmp_path):
    """Training does not begin when its checkpoint could not be written at its end."""
    words = ["train", str(beir), "--output", str(tmp_path / "none" / "x.pt")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 4
    assert "cannot be written" in result.stderr
