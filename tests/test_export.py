"""The export of a checkpoint: a bundle that computes what the model computes, or nothing."""

import json
import logging
import re
import shutil
import site
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from anthem_core.beir import Dataset, Product, write_dataset
from anthem_core.cli import main
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import (
    ALL_SIGNALS,
    ATTENTION_GRAPH,
    ATTENTION_TABLE_GRAPH,
    LEXICAL_CONTAINMENT,
    OPTIONAL_FILES,
    PRODUCT_GRAPH,
    QUERY_GRAPH,
    REQUIRED_FILES,
    list_bundle_files,
    load_bundle,
)
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.errors import BundleError, ParityError
from anthem_core.fusion import FusionWeights

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

import onnx

from anthem_exporter.export import export_bundle
from anthem_exporter.graphs import graph_modules
from anthem_exporter.parity import PARITY_BATCH_SIZES, PARITY_TOLERANCE, check_parity, count_comparisons, parity_texts
from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.base_model import read_bundle_model
from anthem_model.calibration import Calibration
from anthem_model.checkpoint import Checkpoint
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem, QueryEncoder

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

VOCABULARY = Vocabulary(("#re", "red", "ed#"), buckets=46, query_limit=12, title_limit=20, words=("kettle", "red"))
FEW_TEXTS = ["red kettle", "", "Kühlschrank", "!?", "a"]
THINGS = ("teapot", "kettle", "lamp", "mug", "desk", "chair", "shoe", "shirt", "phone", "cable")


def build_checkpoint(seed=0, vocabulary=VOCABULARY):
    """A checkpoint of a tiny model with random weights."""
    torch.manual_seed(seed)
    model = Anthem(ModelShape(ids=len(vocabulary), dimension=8, hyperboloids=2, places=vocabulary.title_limit)).eval()
    model.round_tables()
    fusion = {LEXICAL_CONTAINMENT: FusionWeights(4.0, 3.0, 1.0), ALL_SIGNALS: FusionWeights(4.0, 3.0, 1.0, 2.0, -0.5)}
    return Checkpoint(model, vocabulary, Calibration(0.25, fusion), ["tiny"], {"ndcg": 0.5})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The bundle of the tiny model and its parity report on a thousand texts."""
    return export_bundle(build_checkpoint(), tmp_path_factory.mktemp("export") / "bundle", parity_texts())


@pytest.fixture
def bundle_copy(exported, tmp_path):
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(exported[0].path, tmp_path / "bundle"))


def read_files(folder):
    """Contents of every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_parity_on_a_thousand_texts(exported):
    """All graphs are compared on a thousand texts, in batches of 1, 7 and 64, and differ by rounding only."""
    _, report = exported
    assert report.passed
    assert report.batches == PARITY_BATCH_SIZES == (1, 7, 64)
    assert [graph.graph for graph in report.graphs] == [
        QUERY_GRAPH,
        PRODUCT_GRAPH,
        ATTENTION_GRAPH,
        ATTENTION_TABLE_GRAPH,
    ]
    for graph in report.graphs:
        assert graph.texts >= 1000
        assert graph.faults == []
        assert max(graph.differences.values()) <= PARITY_TOLERANCE
    assert json.loads(json.dumps(report.to_dict()))["passed"] is True


def test_a_bundle_contains_the_values_of_the_checkpoint(exported):
    """Sizes, vocabulary, slack, fusion, training data and quality are the same, and there is a model card."""
    bundle, report = exported
    checkpoint = build_checkpoint()
    assert (bundle.dimension, bundle.hyperboloids) == (8, 2)
    assert (bundle.radius, bundle.gamma) == (checkpoint.model.shape.radius, checkpoint.model.shape.gamma)
    assert bundle.vocabulary == checkpoint.vocabulary
    assert (bundle.slack, bundle.trained_on, bundle.quality) == (0.25, ["tiny"], {"ndcg": 0.5})
    assert bundle.fusion == checkpoint.calibration.fusion
    assert {"torch", "onnxruntime", "anthem-search"} <= bundle.versions.keys()
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert bundle.model_id in card
    assert str(report) in card
    assert "| lexical+containment+attention | 4.0000 | 3.0000 | 1.0000 | 2.0000 | -0.5000 |" in card


def test_the_encoder_computes_the_points_of_the_model(exported):
    """From texts, ONNX Runtime computes the points that torch computes."""
    bundle, _ = exported
    points = AnthemRanker(VOCABULARY, build_checkpoint().model).eval().encode_titles(FEW_TEXTS).numpy()
    np.testing.assert_allclose(Encoder(bundle).encode_products(FEW_TEXTS), points, atol=1e-5)


def test_the_attention_scorer_computes_the_attention_of_the_model(exported):
    """From texts, ONNX Runtime computes the attention scores that torch computes, but for rounding to five digits."""
    bundle, _ = exported
    ranker = AnthemRanker(VOCABULARY, build_checkpoint().model).eval()
    expected = ranker.compute_signals("red kettle", FEW_TEXTS, ranker.encode_titles(FEW_TEXTS)).attention.numpy()
    scores = AttentionScorer(bundle).score_titles("red kettle", FEW_TEXTS)
    with_words = [row for row, text in enumerate(FEW_TEXTS) if VOCABULARY.title_ids(text)]
    np.testing.assert_allclose(scores[with_words], expected[with_words], atol=1e-5)


def test_the_same_checkpoint_gives_the_same_bytes(exported, tmp_path):
    """A second export, which replaces another bundle, gives the same model id and the same bytes."""
    bundle, _ = exported
    folder = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    (folder / QUERY_GRAPH).write_bytes(b"old")
    again, _ = export_bundle(build_checkpoint(), folder, FEW_TEXTS)
    assert again.model_id == bundle.model_id
    assert {*list_bundle_files(folder)} == {*REQUIRED_FILES, *OPTIONAL_FILES}
    for name in (*REQUIRED_FILES, *OPTIONAL_FILES, "manifest.json"):
        assert (folder / name).read_bytes() == (bundle.path / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_the_model_of_a_bundle_can_be_read_back(exported):
    """From a bundle comes the checkpoint that it was exported from, its parameters bit for bit."""
    checkpoint, read = build_checkpoint(), read_bundle_model(exported[0])
    assert replace(read, model=None) == replace(checkpoint, model=None)
    assert read.model.shape == checkpoint.model.shape
    state = checkpoint.model.state_dict()
    assert read.model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in read.model.state_dict().items())


def test_words_of_the_former_bundle_are_removed(bundle_copy):
    """A bundle without words that replaces one with words has no file of them, and its card says what it has."""
    assert "| 2 words, 3 trigrams and 46 hash buckets; text rules 2 |" in (bundle_copy / "README.md").read_text()
    plain = replace(VOCABULARY, words=())
    bundle, _ = export_bundle(build_checkpoint(vocabulary=plain), bundle_copy, FEW_TEXTS)
    assert bundle.vocabulary == plain
    assert {*read_files(bundle_copy)} == {*list_bundle_files(bundle_copy), "manifest.json", "README.md"}
    assert "| 3 trigrams and 46 hash buckets; text rules 2 |" in (bundle_copy / "README.md").read_text()


def test_export_leaves_global_state_unchanged(tmp_path):
    """Neither random numbers nor the log level of torch's exporter are changed by an export."""
    checkpoint, logger = build_checkpoint(), logging.getLogger("torch.onnx")
    state, level = torch.get_rng_state(), logger.level
    export_bundle(checkpoint, tmp_path / "bundle", FEW_TEXTS)
    assert torch.equal(torch.get_rng_state(), state)
    assert logger.level == level


def test_a_bundle_contains_nothing_of_the_machine(exported):
    """No file contains the working folder, a home folder, or paths of libraries or source files."""
    traces = {str(Path.cwd()), str(Path.home()), *site.getsitepackages(), "site-packages", "network.py", "Traceback"}
    for name, content in read_files(exported[0].path).items():
        for trace in traces:
            assert trace.encode() not in content, f"{trace} in {name}"


@pytest.mark.parametrize("file", [QUERY_GRAPH, PRODUCT_GRAPH, ATTENTION_GRAPH, ATTENTION_TABLE_GRAPH])
def test_parity_fails_with_a_changed_weight(bundle_copy, file):
    """If a weight changes after the export, the report names the output and the difference."""
    model = build_checkpoint().model
    part = {QUERY_GRAPH: model.query, PRODUCT_GRAPH: model.product}.get(file, model.grid)
    with torch.no_grad():
        part.context.mix.bias.add_(0.1)
    with pytest.raises(ParityError, match=rf"(?s){re.escape(file)}.*FAULT \w+ differs by .*, allowed 1e-05") as caught:
        check_parity(model, VOCABULARY, bundle_copy, FEW_TEXTS)
    assert caught.value.exit_code == 7


def test_progress_reaches_its_total(exported):
    """The parity check reports every comparison that it announced."""
    model, compared = build_checkpoint().model, []
    check_parity(model, VOCABULARY, exported[0].path, FEW_TEXTS, compared.append)
    assert sum(compared) == count_comparisons(FEW_TEXTS, graph_modules(model))


def rename_output(graph):
    """Rename the first output."""
    old = graph.output[0].name
    graph.output[0].name = "renamed"
    for node in graph.node:
        node.output[:] = ["renamed" if name == old else name for name in node.output]
        node.input[:] = ["renamed" if name == old else name for name in node.input]


def rename_input(graph):
    """Rename the first input."""
    old = graph.input[0].name
    graph.input[0].name = "renamed"
    for node in graph.node:
        node.input[:] = ["renamed" if name == old else name for name in node.input]


def fix_axis(graph):
    """Fix the text length at 7."""
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (rename_output, r"outputs are \('renamed'.* expected \('points'"),
        (rename_input, r"inputs are \('renamed', 'mask'\), expected \('trigrams', 'mask'\)"),
        (fix_axis, r"input trigrams has a fixed axis: \['\w+', 7\]"),
    ],
)
def test_parity_fails_with_another_signature(bundle_copy, damage, fault):
    """A graph with other names or axes than a bundle's fails before its values are compared."""
    path = bundle_copy / PRODUCT_GRAPH
    model = onnx.load(path)
    damage(model.graph)
    onnx.save(model, path)
    with pytest.raises(ParityError, match=f"(?s)FAULT {fault}"):
        check_parity(build_checkpoint().model, VOCABULARY, bundle_copy, FEW_TEXTS)


class ExportedDifferently(QueryEncoder):
    """A query encoder that computes something else while it is exported."""

    def forward(self, trigrams, mask):
        """Encode with larger limits in the graph than in torch."""
        encoded = super().forward(trigrams, mask)
        return encoded._replace(limits=encoded.limits + 0.01) if torch.compiler.is_exporting() else encoded


def test_a_failed_export_leaves_the_old_bundle(bundle_copy):
    """If parity fails, the old bundle does not change by a byte, and no other file remains."""
    before = read_files(bundle_copy)
    checkpoint = build_checkpoint()
    checkpoint.model.query.__class__ = ExportedDifferently
    with pytest.raises(ParityError, match=r"(?s)FAULT limits differs by 1\.0e-02.*Nothing was exported"):
        export_bundle(checkpoint, bundle_copy, FEW_TEXTS)
    assert read_files(bundle_copy) == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


def test_a_folder_with_other_files_is_refused(tmp_path):
    """A folder that contains files of something else is not replaced."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(
        BundleError, match=r"files that do not belong to a bundle \(thesis\.txt\)\. Name an empty folder"
    ):
        export_bundle(build_checkpoint(), tmp_path, FEW_TEXTS)
    assert read_files(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_vocabulary_that_no_index_can_store_is_refused(tmp_path):
    """A model with more than 65,536 ids is refused before the export, and the message says what to do."""
    vocabulary = Vocabulary(("#re",), buckets=2**16)
    model = Anthem(ModelShape(ids=len(vocabulary), dimension=2, grid=2))
    checkpoint = Checkpoint(model, vocabulary, Calibration(0.0, {}))
    with pytest.raises(BundleError, match=r"has 65538 ids; .*up to 65535\. Train with a smaller vocabulary"):
        export_bundle(checkpoint, tmp_path / "bundle", FEW_TEXTS)
    assert not (tmp_path / "bundle").exists()


@pytest.fixture(scope="module")
def beir_folder(tmp_path_factory):
    """A BEIR folder of thirty products and thirty judged queries."""
    names = [f"{colour} {thing}" for colour in ("red", "blue", "black") for thing in THINGS]
    products = {f"p{number}": Product(f"p{number}", name) for number, name in enumerate(names)}
    queries = {f"q{number}": name for number, name in enumerate(names)}
    qrels = {f"q{number}": {f"p{number}": 3, f"p{(number + 1) % 30}": 0} for number in range(30)}
    folder = tmp_path_factory.mktemp("data") / "shop"
    write_dataset(Dataset(products, queries, {"train": qrels}), folder)
    return folder


def test_from_a_folder_to_a_bundle(beir_folder, tmp_path):
    """`anthem train` and `anthem export` give a bundle that loads and encodes; --json prints one object each."""
    runner, model, folder = CliRunner(), str(tmp_path / "shop.pt"), str(tmp_path / "bundle")
    arguments = ["--from", "nothing", "--steps", "3", "--json"]
    trained = runner.invoke(main, ["train", str(beir_folder), "--output", model, *arguments])
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["checkpoint"] == model
    corpus = str(beir_folder / "corpus.jsonl.gz")
    written = runner.invoke(main, ["export", model, folder, "--corpus", corpus, "--json"])
    assert written.exit_code == 0, written.output
    value = json.loads(written.stdout)
    bundle = load_bundle(folder)
    assert value["model"] == bundle.model_id
    assert value["parity"]["passed"] is True
    assert bundle.trained_on == ["shop"]
    assert Encoder(bundle).encode_query("red teapot") is not None


def test_missing_data_exits_4(tmp_path):
    """A folder, checkpoint or output folder that does not exist gives exit code 4 and a message that names it."""
    runner = CliRunner()
    missing, output = str(tmp_path / "none"), str(tmp_path / "x.pt")
    for arguments in (["train", missing, "--output", output, "--from", "nothing"], ["export", missing, output]):
        result = runner.invoke(main, arguments)
        assert result.exit_code == 4
        assert missing in result.stderr
        assert result.stdout == ""


def test_an_output_that_cannot_be_written_is_refused_before_training(beir_folder, tmp_path):
    """Training does not begin if its checkpoint cannot be written."""
    arguments = ["train", str(beir_folder), "--output", str(tmp_path / "none" / "x.pt"), "--from", "nothing"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 4
    assert "cannot be written" in result.stderr
