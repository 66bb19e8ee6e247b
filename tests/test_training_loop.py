"""The training loop of any ranker, on a ranker that counts letters."""

import copy
import math
from dataclasses import replace

import pytest

from anthem_core.errors import AnthemError, DataError

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.data.batches import BatchMixture, ListSampler
from anthem_model.data.training_shop import JudgedQuery, ShopSplit, TrainingShop
from anthem_model.ranker import TrainableRanker
from anthem_model.trainer.loop import (
    TrainingProgress,
    ValidationTrial,
    _TrainingLoop,
    run_training_loop,
    train_within_budget,
)
from anthem_model.trainer.resume import ResumeFolder
from anthem_model.trainer.schedule import TrainingSchedule
from anthem_model.trainer.training import TrainingPlan, build_ranker
from anthem_model.trainer.validation import build_pools, validate_ranker

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("teapot", "kettle", "mug", "lamp")]
MIXTURE = BatchMixture(judged_queries=4, pseudo_queries=2, candidates=6, hard_negatives=2, random_negatives=1)
SCHEDULE = TrainingSchedule(steps=13, learning_rate=1e-2, validation_interval=4)


class LetterRanker(TrainableRanker):
    """Embeds texts as sums of their letters, with dropout; raises KeyboardInterrupt after `max_steps` losses."""

    def __init__(self, max_steps=None):
        super().__init__()
        self.letters = torch.nn.Linear(26, 8, bias=False)
        self.dropout = torch.nn.Dropout(0.2)
        self.steps_left = max_steps

    def score_candidates(self, queries, titles, candidates):
        """Inner products of the sums of letters."""
        query_vectors, title_vectors = (self.letters(self.dropout(self.count_letters(t))) for t in (queries, titles))
        return (query_vectors[:, None] * title_vectors[candidates]).sum(-1)

    def count_letters(self, texts):
        """Number of occurrences of every letter in every text."""
        return torch.tensor([[float(text.count(chr(97 + letter))) for letter in range(26)] for text in texts])

    def loss(self, batch):
        """The listwise loss, while there are steps left."""
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise KeyboardInterrupt
        return super().loss(batch)


class SharingRanker(LetterRanker):
    """A ranker in which two modules share a parameter, as ANTHEM's encoders share the entities."""

    def __init__(self):
        super().__init__()
        self.shared = self.letters


def build_shop(judged=True):
    """Twelve products; the last word of a title is a query for which it is relevant and the next title is not."""
    queries = [JudgedQuery(title.split()[1], (row, (row + 1) % 12), (1.0, 0.0)) for row, title in enumerate(TITLES)]
    return TrainingShop("tiny", TITLES, queries if judged else [])


def build_letter_ranker(seed=0, max_steps=None, ranker_class=LetterRanker):
    """A ranker with random parameters."""
    torch.manual_seed(seed)
    return ranker_class(max_steps) if max_steps is not None else ranker_class()


def train(ranker, schedule=SCHEDULE, resume=None, validation_shop=None, seed=0):
    """Train a ranker on the shop."""
    samplers = [ListSampler(build_shop(), MIXTURE, seed), ListSampler(build_shop(judged=False), MIXTURE, seed + 1)]
    return run_training_loop(ranker, samplers, [validation_shop or build_shop()], schedule, resume)


def start_loop(ranker, schedule=SCHEDULE):
    """A training loop before its first step."""
    return _TrainingLoop(
        ranker, [ListSampler(build_shop(), MIXTURE)], [ValidationTrial.for_shop(build_shop())], schedule
    )


def are_equal(left, right):
    """Whether two rankers have the same parameters, bit for bit."""
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


@pytest.fixture(scope="module")
def uninterrupted():
    """A trained ranker and the progress of its training."""
    ranker = build_letter_ranker()
    return ranker, train(ranker)


def test_the_same_seed_gives_the_same_ranker(uninterrupted):
    """A second training gives the same parameters and quality; another seed gives other parameters."""
    again = build_letter_ranker()
    assert train(again).quality == uninterrupted[1].quality
    other = build_letter_ranker(1)
    train(other, seed=1)
    assert are_equal(again, uninterrupted[0])
    assert not are_equal(other, uninterrupted[0])


def test_training_lowers_the_loss():
    """After training, the loss of a batch is lower than before."""
    ranker, batch = build_letter_ranker().eval(), ListSampler(build_shop(), MIXTURE, 99).batch(0)
    before = float(ranker.loss(batch).detach())
    train(ranker, replace(SCHEDULE, steps=60))
    assert float(ranker.loss(batch).detach()) < 0.9 * before


@pytest.mark.parametrize("max_steps", [0, 3, 4, 5, 9, 12])
def test_a_killed_training_resumes_to_the_same_result(uninterrupted, tmp_path, max_steps):
    """A training that is killed at any step and run again gives the uninterrupted result, bit for bit."""
    resume = ResumeFolder(tmp_path / "work", "this")
    with pytest.raises(KeyboardInterrupt):
        train(build_letter_ranker(max_steps=max_steps), resume=resume)
    interval = SCHEDULE.validation_interval
    assert (tmp_path / "work").exists() == (max_steps >= interval)
    # As many steps as are left after the last saved state are enough.
    ranker = build_letter_ranker(max_steps=SCHEDULE.steps - max_steps // interval * interval)
    progress = train(ranker, resume=resume)
    assert are_equal(ranker, uninterrupted[0])
    expected = uninterrupted[1]
    assert (progress.step, progress.best_step, progress.quality) == (13, expected.best_step, expected.quality)


def test_a_training_killed_twice_resumes(uninterrupted, tmp_path):
    """A training can be killed more than once."""
    resume = ResumeFolder(tmp_path, "this")
    for max_steps in (5, 6):
        with pytest.raises(KeyboardInterrupt):
            train(build_letter_ranker(max_steps=max_steps), resume=resume)
    ranker = build_letter_ranker()
    train(ranker, resume=resume)
    assert are_equal(ranker, uninterrupted[0])


def test_a_complete_training_is_not_repeated(uninterrupted, tmp_path):
    """A training that was killed after its last step takes no further step."""
    resume = ResumeFolder(tmp_path, "this")
    train(build_letter_ranker(), resume=resume)
    ranker = build_letter_ranker(max_steps=0)
    assert train(ranker, resume=resume).quality == uninterrupted[1].quality
    assert are_equal(ranker, uninterrupted[0])


def truncate(path):
    """Cut a file off in the middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_bytes(b""), lambda path: path.write_text("no")])
def test_a_damaged_state_is_ignored(uninterrupted, tmp_path, capsys, damage):
    """If the state cannot be read, a message names it and the training starts from the beginning."""
    resume = ResumeFolder(tmp_path, "this")
    with pytest.raises(KeyboardInterrupt):
        train(build_letter_ranker(max_steps=9), resume=resume)
    damage(tmp_path / "state.pt")
    ranker = build_letter_ranker()
    train(ranker, resume=resume)
    assert are_equal(ranker, uninterrupted[0])
    assert "state.pt cannot be read" in (message := capsys.readouterr().err)
    assert "training starts from the beginning" in message


def test_the_state_of_another_training_is_ignored(uninterrupted, tmp_path, capsys):
    """The state of a training with another fingerprint is not used."""
    with pytest.raises(KeyboardInterrupt):
        train(build_letter_ranker(1, max_steps=9), resume=ResumeFolder(tmp_path, "another"), seed=1)
    ranker = build_letter_ranker()
    train(ranker, resume=ResumeFolder(tmp_path, "this"))
    assert are_equal(ranker, uninterrupted[0])
    assert "belongs to another training" in capsys.readouterr().err


def test_the_state_of_another_format_is_ignored(uninterrupted, tmp_path, capsys):
    """A state that another version saved is not used, even if its fingerprint is the same."""
    torch.save({"of": "this", "fingerprint": "this", "course": {}, "state": {}}, tmp_path / "state.pt")
    ranker = build_letter_ranker()
    train(ranker, resume=ResumeFolder(tmp_path, "this"))
    assert are_equal(ranker, uninterrupted[0])
    assert "not the state of a training in format 2" in capsys.readouterr().err


def test_a_new_state_replaces_the_old_one(tmp_path):
    """A partly written state, which a killed training leaves, does no harm, and the new state is complete."""
    resume = ResumeFolder(tmp_path, "this")
    (tmp_path / ".anthem-killed.part").write_bytes(b"half")
    train(build_letter_ranker(), resume=resume)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".anthem-killed.part", "state.pt"]
    resume.delete()
    assert not tmp_path.exists()


def test_a_state_that_cannot_be_written_is_an_error(tmp_path):
    """If the folder cannot be created, a DataError names the file."""
    (tmp_path / "work").write_text("a file")
    with pytest.raises(DataError, match=r"state\.pt could not be written .*disk full"):
        ResumeFolder(tmp_path / "work", "this").save(_TrainingLoop(build_letter_ranker(), [], [], SCHEDULE))


def test_processor_time_ends_a_training():
    """A training ends after the step in which its budget of processor time is used up."""
    progress = train(build_letter_ranker(), replace(SCHEDULE, steps=10**9, seconds=1e-9))
    assert progress.step == 1
    progress = train(build_letter_ranker(), replace(SCHEDULE, steps=10**9, seconds=0.2))
    assert progress.step > 1
    assert 0.2 <= progress.seconds < 1


def test_a_budget_trains_on_one_shop():
    """`train_within_budget` returns a ranker in inference mode, and global random numbers continue as if unused."""
    split, ranker = ShopSplit(build_shop(), build_shop()), build_letter_ranker()
    state = torch.get_rng_state()
    assert not train_within_budget(ranker, split, 0.05, seed=0).training
    assert torch.equal(torch.get_rng_state(), state)
    assert ranker.score_titles("red", TITLES).shape == (12,)


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 11])
def test_any_number_of_steps_is_possible(steps):
    """Even few steps leave finite parameters."""
    ranker = build_letter_ranker()
    assert train(ranker, replace(SCHEDULE, steps=steps)).step == steps
    assert all(torch.isfinite(value).all() for value in ranker.state_dict().values())


def test_a_loss_that_is_nan_is_an_error():
    """A loss of NaN is an AnthemError that says what to do."""
    ranker = build_letter_ranker()
    torch.nn.init.constant_(ranker.letters.weight, math.nan)
    with pytest.raises(AnthemError, match=r"loss is NaN or infinite\. Retry with another --seed"):
        train(ranker)


def test_the_quality_is_that_of_the_returned_ranker(uninterrupted):
    """The ranker is in inference mode, and validating it again gives the reported quality."""
    ranker, progress = uninterrupted
    assert not ranker.training
    assert progress.quality == {"tiny": pytest.approx(validate_ranker(ranker, build_shop(), build_pools(build_shop())))}
    assert progress.best_step in (4, 8, 12, 13)


class UnlearningRanker(LetterRanker):
    """Learns the reverse of the judged order."""

    def loss(self, batch):
        """The negative of the listwise loss."""
        return -super().loss(batch)


def test_a_trained_ranker_does_not_end_worse_than_it_starts(uninterrupted):
    """If every step makes a ranker worse, it is returned as it was, as of step 0."""
    trained, expected = uninterrupted
    ranker = build_letter_ranker(ranker_class=UnlearningRanker)
    ranker.load_state_dict(trained.state_dict())
    fast = replace(SCHEDULE, learning_rate=1.0)
    samplers, shops = [ListSampler(build_shop(), MIXTURE)], [build_shop()]
    progress = run_training_loop(ranker, samplers, shops, fast, may_keep_start=True)
    assert (progress.best_step, progress.quality) == (0, expected.quality)
    assert are_equal(ranker, trained)


def test_the_best_parameters_are_kept():
    """Kept is the best mean quality over shops, of equal ones the later; without judgments the last one."""
    progress = TrainingProgress()
    qualities = [{"a": 0.4, "b": 0.2}, {"a": 0.1, "b": 0.9}, {"a": 0.9, "b": 0.1}, {"a": 0, "b": 0}]
    parameters = {"w": torch.zeros(1)}
    for step, quality in enumerate(qualities):
        progress.step = step
        parameters["w"].fill_(step)
        progress.offer(quality, parameters)
    assert (progress.best_step, progress.best["w"].item(), progress.quality) == (2, 2, {"a": 0.9, "b": 0.1})
    unjudged = TrainingProgress()
    for step in (3, 8):
        unjudged.step = step
        unjudged.offer({}, parameters)
    assert unjudged.best_step == 8


def test_without_judgments_the_last_parameters_are_kept():
    """A shop without judged queries gives no quality, and the ranker of the last step."""
    progress = train(build_letter_ranker(), validation_shop=build_shop(judged=False))
    assert (progress.best_step, progress.quality) == (13, {})


def test_the_average_is_between_the_parameters():
    """The average is within the range of the parameters of all steps, and with decay 0 it is the last of them."""
    for decay, is_last in ((0.9, False), (0.0, True)):
        loop = start_loop(build_letter_ranker(), replace(SCHEDULE, averaging_decay=decay))
        weights = [loop.ranker.letters.weight.detach().clone()]
        for _ in range(6):
            loop.step()
            weights.append(loop.ranker.letters.weight.detach().clone())
        average, stacked = loop.averaged.module.letters.weight, torch.stack(weights)
        assert (average >= stacked.amin(0) - 1e-6).all()
        assert (average <= stacked.amax(0) + 1e-6).all()
        assert torch.allclose(average, weights[-1], atol=1e-7) == is_last


def build_anthem():
    """A tiny ANTHEM with the vocabulary of the titles."""
    torch.manual_seed(0)
    return build_ranker(TITLES, [], TrainingPlan(dimension=6, grid_dimension=4, known_trigrams=200, hash_buckets=40))


@pytest.mark.parametrize(
    "build", [build_letter_ranker, lambda: build_letter_ranker(ranker_class=SharingRanker), build_anthem]
)
def test_averages_and_learning_rates_are_those_of_version_0_1(build):
    """Torch's AveragedModel and LambdaLR compute what version 0.1 computed itself, bit for bit, at every step."""
    ranker = build()
    schedule = replace(SCHEDULE, steps=40, averaging_decay=0.6)  # a decay reached within the test
    base_rates = [group["lr"] for group in ranker.parameter_groups(schedule.learning_rate)]
    mean = copy.deepcopy(ranker.state_dict())
    loop = start_loop(ranker, schedule)
    for step in range(20):
        factor = schedule.rate_factor(schedule.fraction_done(step, 0))
        assert [group["lr"] for group in loop.optimiser.param_groups] == [rate * factor for rate in base_rates]
        loop.step()
        weight = 1 - min(schedule.averaging_decay, (step + 1) / (step + 11))
        for name, value in ranker.state_dict().items():
            mean[name].lerp_(value, weight)
        averaged = loop.averaged.module.state_dict()
        assert averaged.keys() == mean.keys()
        assert all(torch.equal(averaged[name], value) for name, value in mean.items()), step


def test_validation_does_not_influence_training():
    """Validating the average changes neither the parameters nor the later steps."""
    rankers = []
    for interval in (1, 6):
        loop = start_loop(build_letter_ranker())
        for step in range(6):
            loss = loop.step()
            if step % interval == 0:
                loop.validate(loss)
        rankers.append(loop.ranker)
    assert are_equal(*rankers)


def test_the_learning_rate_rises_and_falls():
    """The factor is nearly 0 at both ends, nearly 1 in between, and never negative."""
    schedule = TrainingSchedule(steps=100)
    factors = [schedule.rate_factor(schedule.fraction_done(step, 0)) for step in range(101)]
    assert factors[0] < 0.05
    assert factors[100] == pytest.approx(0)
    assert 0.9 < max(factors) <= 1
    assert min(factors) >= 0
    peak = factors.index(max(factors))
    assert factors == [*sorted(factors[:peak]), *sorted(factors[peak:], reverse=True)]
