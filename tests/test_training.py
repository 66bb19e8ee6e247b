"""Laws of training ANTHEM, from a shop of twenty products, and from a folder by `anthem train`, killed and not."""

import json
import math
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
from click.testing import CliRunner

from anthem_core.beir import Dataset, Product, write_dataset
from anthem_core.cli import main

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.anthem_ranker import UNKNOWN_GAIN
from anthem_model.checkpoint import load_checkpoint
from anthem_model.data.batches import BatchMixture, ListSampler
from anthem_model.data.bm25 import Bm25Index
from anthem_model.data.training_shop import max_validation_queries, split_dataset
from anthem_model.trainer.loop import TrainingSchedule
from anthem_model.trainer.training import TrainingPlan, build_ranker, train_anthem
from anthem_model.trainer.validation import build_pools, validate_ranker

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

COLOURS = ("red", "blue", "green", "black", "white")
THINGS = ("teapot", "kettle", "desk lamp", "coffee mug")
MIXTURE = BatchMixture(judged=6, pseudo=2, candidates=8, confused=3, random=1)
PLAN = TrainingPlan(
    pace=TrainingSchedule(steps=24, rate=1e-2, every=12), mixture=MIXTURE, dimension=8, known=200, buckets=40
)


def dataset(judged=True):
    """Twenty products; each is a query of its own, with three products judged: itself, one of its kind, another."""
    names = [(colour, thing) for colour in COLOURS for thing in THINGS]
    products = {
        f"p{number}": Product(f"p{number}", f"{colour} {thing}") for number, (colour, thing) in enumerate(names)
    }
    queries = {f"q{number}": f"{colour} {thing}" for number, (colour, thing) in enumerate(names)}
    qrels = {
        f"q{number}": {f"p{number}": 3, f"p{(number + 4) % 20}": 1, f"p{(number + 1) % 20}": 0} for number in range(20)
    }
    return Dataset(products, queries, {"train": qrels, "test": {"q0": {"p9": 3}}} if judged else {})


@pytest.fixture(scope="module")
def shop():
    """The twenty products, prepared: a part to learn from and one to validate on."""
    return split_dataset("tiny", dataset(), random.Random(0))


@pytest.fixture(scope="module", params=["lorentz", "euclid"])
def trained(request, shop):
    """A model trained for some steps, in either geometry, and its plan."""
    plan = replace(PLAN, geometry=request.param)
    return train_anthem([shop], plan), plan


def untrained(shop, geometry="lorentz"):
    """A ranker that has learned nothing."""
    torch.manual_seed(0)
    return build_ranker(
        shop.learn.titles, [query.text for query in shop.learn.judged], replace(PLAN, geometry=geometry)
    )


def test_preparing_keeps_train_apart_from_the_rest(shop):
    """Learning and validation share no query and no title; of `test` neither knows; gains are grades over the top."""
    assert shop.validate.judged
    assert not {query.text for query in shop.learn.judged} & {query.text for query in shop.validate.judged}
    assert not set(shop.learn.titles) & set(shop.validate.titles)
    assert len(shop.learn.titles) + len(shop.validate.titles) == 20
    assert len(shop.validate.titles) <= 4
    assert {gain for query in shop.learn.judged for gain in query.gains} == {1.0, 1 / 3, 0.0}


def test_twins_of_validation_titles_are_not_learned():
    """Where every title is sold twice, no title is both learned and validated on."""
    once = dataset()
    twins = {f"{name}b": replace(product, id=f"{name}b") for name, product in once.products.items()}
    doubled = split_dataset("doubled", replace(once, products=once.products | twins), random.Random(0))
    assert doubled.validate.judged
    assert not set(doubled.learn.titles) & set(doubled.validate.titles)


def test_judgments_stay_with_their_titles(shop):
    """After the cut every judgment is still of the product that was judged."""
    whole = dataset()
    for half in (shop.learn, shop.validate):
        for query in half.judged:
            wanted = {whole.products[name].title: grade for name, grade in grades_of(whole, query.text).items()}
            for row, gain in zip(query.rows, query.gains, strict=True):
                assert gain == wanted[half.titles[row]] / 3


def grades_of(whole, text):
    """Judgments of a query text in `train`."""
    return whole.qrels["train"][next(query for query, found in whole.queries.items() if found == text)]


@pytest.mark.parametrize(("judged", "wanted"), [(0, 0), (2, 0), (3, 1), (30, 10), (90, 30), (180, 30), (600, 100)])
def test_a_sixth_validates_or_of_few_a_third(judged, wanted):
    """A sixth of the judged queries validate, of few a third, up to thirty."""
    assert max_validation_queries(judged) == wanted


def test_a_product_that_may_match_is_unknown(shop):
    """Over a batch's titles one that holds every word of a query it is no candidate of is unknown, all others are 0."""
    ranker, lists = untrained(shop), ListSampler(shop.learn, MIXTURE).lists(0)
    gains, judged = ranker._spread(lists)
    assert torch.equal(gains.gather(1, lists.candidates), lists.gains)
    assert torch.equal(judged.gather(1, lists.candidates), lists.judged)
    assert judged.sum() == lists.judged.sum()
    for row, query in enumerate(lists.queries):
        for place, title in enumerate(lists.titles):
            if place not in lists.candidates[row]:
                may_match = set(query.split()) <= set(title.split())
                assert gains[row, place] == (UNKNOWN_GAIN if may_match else 0)


@pytest.mark.parametrize("geometry", ["lorentz", "euclid"])
def test_every_parameter_learns(shop, geometry):
    """A loss of lists gives every parameter a finite gradient, and all but one some of it, once no layer is zero.

    The share's bias adds the same to every trigram, of which only differences count. Extents are fitted afterwards.
    """
    ranker, lists = untrained(shop, geometry), ListSampler(shop.learn, MIXTURE).lists(0)
    for parameter in ranker.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    ranker.loss(lists).backward()
    learned = {name: parameter for name, parameter in ranker.named_parameters() if parameter.requires_grad}
    assert set(dict(ranker.named_parameters())) - set(learned) == {"network.query.extent.weight"}
    for name, parameter in learned.items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0 or name == "network.query.share.bias", name


def test_training_lowers_the_loss(trained, shop):
    """After training the same lists cost less than before."""
    found, plan = trained
    lists = ListSampler(shop.learn, MIXTURE, 99).lists(0)
    with torch.no_grad():
        before, after = (float(ranker.loss(lists)) for ranker in (untrained(shop, plan.geometry).eval(), found.ranker))
    assert after < 0.9 * before


def test_entities_stay_in_their_space(trained):
    """Riemannian steps leave every entity on the hyperboloid, those of E-ANTHEM at 1, within the radius."""
    network = trained[0].ranker.network
    points, space = network.entities.points.detach(), network.shape.space
    torch.testing.assert_close(space.exp0(space.log0(points)), points, atol=1e-4, rtol=1e-4)
    assert (space.log0(points).norm(dim=-1) <= network.shape.radius * (1 + 1e-3)).all()


def test_the_same_seed_gives_the_same_model(trained, shop):
    """Training twice from one seed gives identical weights and quality; another seed gives others."""
    found, plan = trained
    again, other = train_anthem([shop], plan), train_anthem([shop], replace(plan, seed=1))
    assert equal(again.ranker.state_dict(), found.ranker.state_dict())
    assert again.quality == found.quality
    assert not torch.equal(other.ranker.network.entities.points, found.ranker.network.entities.points)


def equal(left, right):
    """Whether two states hold the same numbers, bit by bit."""
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def test_what_is_trained_is_ready_measured_and_rounded(trained, shop):
    """The model is in inference mode, rounded as a bundle keeps it, and its quality is its own, measured again."""
    ranker = trained[0].ranker
    assert not ranker.training
    found = validate_ranker(ranker, shop.validate, build_pools(shop.validate))
    assert trained[0].quality == {"tiny": pytest.approx(found, abs=0.02)}  # measured before it is rounded
    assert trained[0].steps in (12, 24)
    table = ranker.network.grid.tangents.weight
    assert torch.equal(table, table.half().float())


def test_the_salience_starts_at_the_rarity(shop):
    """Before training a trigram of fewer titles draws more attention in the grid; in the encoders all draw alike."""
    ranker = untrained(shop)
    often, seldom, network = *(ranker.vocabulary.id(gram) for gram in ("ack", "hit")), ranker.network
    titles = shop.learn.titles
    assert sum("black" in title for title in titles) != sum("white" in title for title in titles)
    if sum("black" in title for title in titles) < sum("white" in title for title in titles):
        often, seldom = seldom, often
    assert (network.grid.salience.weight[seldom] > network.grid.salience.weight[often]).all()
    assert not network.entities.salience.weight.any()


def test_shops_are_drawn_by_their_shares(shop):
    """Of three shares a shop with two is drawn from twice as often, each time by a sampler of its own."""
    from anthem_model.trainer.training import _build_samplers

    other = replace(shop.learn, name="other")
    samplers = _build_samplers([shop.learn, other], replace(PLAN, shares=(2, 1)))
    assert [sampler.shop.name for sampler in samplers] == ["tiny", "tiny", "other"]
    assert len({sampler.seed for sampler in samplers}) == 3


def test_few_judged_queries_are_not_learned_by_heart(shop):
    """Over all steps a judged query comes hardly more often than the plan allows; pseudo-queries fill the places."""
    from anthem_model.trainer.training import _build_samplers

    plan = replace(PLAN, pace=TrainingSchedule(steps=1000), passes=30)
    (sampler,) = _build_samplers([shop.learn], plan)
    assert sampler.mixture.judged * 1000 <= 30 * len(shop.learn.judged) + 1000
    assert sampler.mixture.judged + sampler.mixture.pseudo == MIXTURE.judged + MIXTURE.pseudo


def test_a_catalogue_alone_trains_to_the_end():
    """Without judgments there is nothing to choose by: the model is that of the last step."""
    shop = split_dataset("alone", dataset(judged=False), random.Random(0))
    assert shop.learn.judged == shop.validate.judged == []
    trained = train_anthem([shop], replace(PLAN, pace=TrainingSchedule(steps=3, every=2)))
    assert trained.steps == 3
    assert trained.quality == {}


def test_bm25_golden_score():
    """One document of two equals Lucene's formula by hand: idf * tf / (tf + k1 (1 - b + b * length / mean))."""
    scores = Bm25Index(["red teapots", "a blue kettle"]).scores("the teapot")
    idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert scores == pytest.approx([idf / (1 + 1.2), 0.0], rel=1e-4)


@pytest.mark.parametrize("query", ["", "zzz", "the of", "!?"])
def test_bm25_without_a_match_is_0(query):
    """A query none of whose words is in any text scores 0 everywhere, and finds nothing."""
    engine = Bm25Index(["red teapot", "blue kettle"])
    assert engine.scores(query).tolist() == [0.0, 0.0]
    assert engine.best(query, 2) == []


def test_bm25s_best_come_first():
    """The best are those of the highest scores, best first, of equal ones the first."""
    engine = Bm25Index(["red kettle", "a mug", "red red", "red kettle"])
    scores = engine.scores("red kettle")
    assert engine.best("red kettle", 9) == sorted((0, 2, 3), key=lambda row: (-scores[row], row)) == [0, 3, 2]
    assert engine.best("red kettle", 1) == [0]


@pytest.fixture
def folder(tmp_path):
    """The twenty products as a BEIR folder."""
    write_dataset(dataset(), tmp_path / "shop")
    return tmp_path / "shop"


OFTEN = "import anthem_model.trainer.loop as c; from functools import partial; c.Pace = partial(c.Pace, every=3)"


def command(folder, output, *more):
    """Words of `anthem train` for a short course."""
    return ["train", str(folder), "--output", str(output), "--steps", "16", "--json", *more]


def test_a_killed_training_goes_on_to_the_same_checkpoint(folder, tmp_path, monkeypatch):
    """Killed by SIGKILL and started again `anthem train` writes what it writes undisturbed, and tidies up."""
    cut, whole = tmp_path / "cut.pt", tmp_path / "whole.pt"
    state = tmp_path / "cut.pt.work" / "state.pt"
    begun = f"{OFTEN}; from anthem_core.cli import main; main()"
    with subprocess.Popen([sys.executable, "-c", begun, *command(folder, cut)], stderr=subprocess.DEVNULL) as process:
        while not state.exists() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not cut.exists()
    monkeypatch.setattr("anthem_model.trainer.loop.TrainingSchedule", partial(TrainingSchedule, every=3))
    ended = [CliRunner().invoke(main, command(folder, output)) for output in (cut, whole)]
    assert [result.exit_code for result in ended] == [0, 0], ended[0].output
    assert "going on after step" in ended[0].stderr
    assert "going on after step" not in ended[1].stderr
    left, right = load_checkpoint(cut), load_checkpoint(whole)
    assert equal(left.model.state_dict(), right.model.state_dict())
    assert replace(left.calibration, quality={}) == replace(right.calibration, quality={})
    assert left.vocabulary == right.vocabulary
    assert left.quality == right.quality
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.pt", "shop", "whole.pt"]


def test_help_shows_its_examples():
    """`anthem train --help` has an example of each use, and every option says what it does."""
    shown = CliRunner().invoke(main, ["train", "--help"]).output
    assert "Example:" in shown
    assert "anthem train shop/ --output shop.pt" in shown
    assert "--teacher all-MiniLM-L6-v2/" in shown
    for option in ("--output", "--seed", "--steps", "--minutes", "--threads", "--teacher", "--share", "--json"):
        assert option in shown


def test_a_wrong_teacher_exits_4(folder, tmp_path):
    """A --teacher that is no folder with a model is exit code 4, names it, and leaves nothing behind."""
    result = CliRunner().invoke(main, command(folder, tmp_path / "x.pt", "--teacher", str(tmp_path / "none")))
    assert result.exit_code == 4
    assert f"{tmp_path / 'none'} holds no sentence-embedding model" in result.stderr
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_shares_must_fit_the_folders(folder, tmp_path):
    """As many --share as folders, or none: anything else is a mistake on the command line."""
    result = CliRunner().invoke(main, command(folder, tmp_path / "x.pt", "--share", "1", "--share", "2"))
    assert result.exit_code == 2
    assert "2 times --share for 1 folders" in result.stderr


@pytest.mark.parametrize("file", ["queries.jsonl", "qrels/train.tsv"])
def test_bad_data_exits_4_with_file_and_line(folder, tmp_path, file):
    """A line in twenty that cannot be read is too many: exit code 4, with its file and its line."""
    lines = (folder / file).read_text().splitlines()
    lines[4] = "no such thing"
    (folder / file).write_text("\n".join(lines) + "\n")
    result = CliRunner().invoke(main, command(folder, tmp_path / "x.pt"))
    assert result.exit_code == 4
    assert f"{file.split('/')[-1]}:5" in result.stderr
    assert result.stdout == ""


def test_few_judgments_end_in_numbers(tmp_path):
    """Three judged queries of one product each, one of which validates, give a checkpoint whose weights are numbers."""
    whole = dataset()
    few = {f"q{number}": {f"p{number}": 1} for number in range(3)}
    write_dataset(replace(whole, qrels={"train": few}), tmp_path / "few")
    words = ["train", str(tmp_path / "few"), "--output", str(tmp_path / "x.pt"), "--steps", "2"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    found = load_checkpoint(tmp_path / "x.pt").calibration
    for fusion in (found.fusion, found.attentive):
        assert all(math.isfinite(value) for value in [found.slack, *fusion.to_dict().values()])


def test_results_are_one_object(folder, tmp_path):
    """With --json standard output is one object: the checkpoint and how well it does."""
    words = ["train", str(folder), "--output", str(tmp_path / "x.pt"), "--steps", "2", "--json"]
    result = CliRunner().invoke(main, words)
    value = json.loads(result.stdout)
    assert value["checkpoint"] == str(tmp_path / "x.pt")
    assert set(value["validation_ndcg_10"]) == set(value["validation"]) == {"shop"}
