"""Laws of the training course of any ranker: seeded, bounded, resumable, the best kept; on a ranker of letters."""

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
    TrainingSchedule,
    ValidationTrial,
    _TrainingLoop,
    run_training_loop,
    train_within_budget,
)
from anthem_model.trainer.resume import ResumeFolder
from anthem_model.trainer.validation import build_pools, validate_ranker

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("teapot", "kettle", "mug", "lamp")]
MIXTURE = BatchMixture(judged=4, pseudo=2, candidates=6, confused=2, random=1)
PACE = TrainingSchedule(steps=13, rate=1e-2, every=4)


class Bags(TrainableRanker):
    """Texts as sums of their letters, some of them dropped in training; ends at step `last`, if that is given."""

    def __init__(self, last=None):
        super().__init__()
        self.letters = torch.nn.Linear(26, 8, bias=False)
        self.drop = torch.nn.Dropout(0.2)
        self.left = last

    def scores(self, queries, titles, candidates):
        """Inner products of sums of letters."""
        asked, read = (self.letters(self.drop(self.bags(texts))) for texts in (queries, titles))
        return (asked[:, None] * read[candidates]).sum(-1)

    def bags(self, texts):
        """How often each letter stands in each text."""
        return torch.tensor([[float(text.count(chr(97 + place))) for place in range(26)] for text in texts])

    def loss(self, lists):
        """The listwise loss, while there are steps left."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return super().loss(lists)


def shop(judged=True):
    """Twelve products; each title's last word finds the product itself, and not the next."""
    asked = [JudgedQuery(title.split()[1], (row, (row + 1) % 12), (1.0, 0.0)) for row, title in enumerate(TITLES)]
    return TrainingShop("tiny", TITLES, asked if judged else [])


def seeded(seed=0, last=None):
    """A new ranker from a seed."""
    torch.manual_seed(seed)
    return Bags(last)


def course(ranker, pace=PACE, resume=None, validate=None, seed=0):
    """Run a course on the shop."""
    samplers = [ListSampler(shop(), MIXTURE, seed), ListSampler(shop(judged=False), MIXTURE, seed + 1)]
    return run_training_loop(ranker, samplers, [validate or shop()], pace, resume)


def equal(left, right):
    """Whether two rankers have the same parameters, bit by bit."""
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


@pytest.fixture(scope="module")
def whole():
    """A ranker and the progress of its course, which nothing interrupted."""
    ranker = seeded()
    return ranker, course(ranker)


def test_the_same_seed_gives_the_same_ranker(whole):
    """Twice the same course gives the same parameters and quality; another seed gives others."""
    again = seeded()
    assert course(again).quality == whole[1].quality
    other = seeded(1)
    course(other, seed=1)
    assert equal(again, whole[0])
    assert not equal(other, whole[0])


def test_a_course_lowers_the_loss():
    """After the course the same lists cost less than before."""
    ranker, lists = seeded().eval(), ListSampler(shop(), MIXTURE, 99).lists(0)
    before = float(ranker.loss(lists).detach())
    course(ranker, replace(PACE, steps=60))
    assert float(ranker.loss(lists).detach()) < 0.9 * before


@pytest.mark.parametrize("last", [0, 3, 4, 5, 9, 12])
def test_a_killed_course_goes_on_to_the_same_end(whole, tmp_path, last):
    """Ended at whatever step and started again, a course gives bit by bit what it gives uninterrupted."""
    resume = ResumeFolder(tmp_path / "work", "this")
    with pytest.raises(KeyboardInterrupt):
        course(seeded(last=last), resume=resume)
    assert (tmp_path / "work").exists() == (last >= PACE.every)
    ranker = seeded(last=PACE.steps - last // PACE.every * PACE.every)  # takes up where the last state was kept
    found = course(ranker, resume=resume)
    assert equal(ranker, whole[0])
    assert (found.step, found.best_step, found.quality) == (13, whole[1].best_step, whole[1].quality)


def test_a_course_killed_twice_goes_on(whole, tmp_path):
    """A course can be ended more than once."""
    resume = ResumeFolder(tmp_path, "this")
    for last in (5, 6):
        with pytest.raises(KeyboardInterrupt):
            course(seeded(last=last), resume=resume)
    ranker = seeded()
    course(ranker, resume=resume)
    assert equal(ranker, whole[0])


def test_a_course_that_was_over_is_not_run_again(whole, tmp_path):
    """Ended between its last step and what comes after, a course takes no further step."""
    resume = ResumeFolder(tmp_path, "this")
    course(seeded(), resume=resume)
    ranker = seeded(last=0)
    assert course(ranker, resume=resume).quality == whole[1].quality
    assert equal(ranker, whole[0])


def torn(path):
    """Leave half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [torn, lambda path: path.write_bytes(b""), lambda path: path.write_text("no")])
def test_a_torn_state_starts_anew(whole, tmp_path, capsys, damage):
    """A state that cannot be read is named, and the course begins at its first step."""
    resume = ResumeFolder(tmp_path, "this")
    with pytest.raises(KeyboardInterrupt):
        course(seeded(last=9), resume=resume)
    damage(tmp_path / "state.pt")
    ranker = seeded()
    course(ranker, resume=resume)
    assert equal(ranker, whole[0])
    assert "training starts anew" in capsys.readouterr().err


def test_another_trainings_state_is_not_used(whole, tmp_path, capsys):
    """What a training of another plan left is left alone until this one keeps its own."""
    with pytest.raises(KeyboardInterrupt):
        course(seeded(1, last=9), resume=ResumeFolder(tmp_path, "another"), seed=1)
    ranker = seeded()
    course(ranker, resume=ResumeFolder(tmp_path, "this"))
    assert equal(ranker, whole[0])
    assert "is of another training" in capsys.readouterr().err


def test_a_state_replaces_the_one_before_when_it_is_whole(tmp_path):
    """A file half written beside the state, as a kill leaves it, does no harm and is gone after the next."""
    resume = ResumeFolder(tmp_path, "this")
    (tmp_path / "state.part").write_bytes(b"half")
    course(seeded(), resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    resume.forget()
    assert not tmp_path.exists()


def test_a_state_that_cannot_be_written_is_an_error(tmp_path):
    """Where no folder can be made a DataError says so, with the file."""
    (tmp_path / "work").write_text("a file")
    with pytest.raises(DataError, match=r"state\.pt could not be written .*disk full"):
        ResumeFolder(tmp_path / "work", "this").keep(_TrainingLoop(seeded(), [], [], PACE))


def test_seconds_end_a_course():
    """A budget of processor time that is used up ends a course after the step it is in; the rate falls with it."""
    found = course(seeded(), replace(PACE, steps=10**9, seconds=1e-9))
    assert found.step == 1
    found = course(seeded(), replace(PACE, steps=10**9, seconds=0.2))
    assert found.step > 1
    assert 0.2 <= found.seconds < 1


def test_a_budget_trains_on_one_shop():
    """`fit` is the course within a budget of seconds, and leaves a ranker ready to rank."""
    ranker = train_within_budget(seeded(), ShopSplit(shop(), shop()), 0.05, seed=0)
    assert not ranker.training
    assert ranker.rank("red", TITLES).shape == (12,)


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 11])
def test_any_number_of_steps_trains(steps):
    """Few steps are few, not an error, and leave finite parameters."""
    ranker = seeded()
    assert course(ranker, replace(PACE, steps=steps)).step == steps
    assert all(torch.isfinite(value).all() for value in ranker.state_dict().values())


def test_a_loss_that_is_no_number_ends_the_course():
    """NaN in the loss is an AnthemError that says what to do, not a checkpoint of NaN."""
    ranker = seeded()
    torch.nn.init.constant_(ranker.letters.weight, math.nan)
    with pytest.raises(AnthemError, match=r"no number any more\. Train again with another --seed"):
        course(ranker)


def test_what_is_returned_is_the_best_and_measured(whole):
    """The ranker is in inference mode, and its quality is its own, measured again."""
    ranker, progress = whole
    assert not ranker.training
    assert progress.quality == {"tiny": pytest.approx(validate_ranker(ranker, shop(), build_pools(shop())))}
    assert progress.best_step in (4, 8, 12, 13)


def test_the_best_is_kept():
    """Of several offers the best on average over shops is kept, of equal ones the later; without judgments the last."""
    progress = TrainingProgress(mean={"w": torch.zeros(1)})
    for step, quality in enumerate(
        [{"a": 0.4, "b": 0.2}, {"a": 0.1, "b": 0.9}, {"a": 0.9, "b": 0.1}, {"a": 0, "b": 0}]
    ):
        progress.step = step
        progress.mean["w"].fill_(step)
        progress.offer(quality)
    assert (progress.best_step, progress.best["w"].item(), progress.quality) == (2, 2, {"a": 0.9, "b": 0.1})
    alone = TrainingProgress(mean={"w": torch.zeros(1)})
    for step in (3, 8):
        alone.step = step
        alone.offer({})
    assert alone.best_step == 8


def test_a_catalogue_alone_is_trained_to_its_end():
    """Without judgments there is nothing to choose by: the ranker is that of the last step."""
    found = course(seeded(), validate=shop(judged=False))
    assert (found.best_step, found.quality) == (13, {})


def test_the_mean_lies_between_the_parameters():
    """The mean of the last parameters lies within their range, and with `mean` 0 is the last of them."""
    for mean, exact in ((0.9, False), (0.0, True)):
        under_way = _TrainingLoop(
            seeded(), [ListSampler(shop(), MIXTURE)], [ValidationTrial.of(shop())], replace(PACE, mean=mean)
        )
        seen = [under_way.ranker.letters.weight.detach().clone()]
        for _ in range(6):
            under_way.step()
            seen.append(under_way.ranker.letters.weight.detach().clone())
        found, many = under_way.progress.mean["letters.weight"], torch.stack(seen)
        assert (found >= many.amin(0) - 1e-6).all()
        assert (found <= many.amax(0) + 1e-6).all()
        assert torch.allclose(found, seen[-1], atol=1e-7) == exact


def test_validation_leaves_the_course_as_it_was():
    """Measuring the mean changes no parameter, and no later step."""
    ends = []
    for every in (1, 6):
        under_way = _TrainingLoop(seeded(), [ListSampler(shop(), MIXTURE)], [ValidationTrial.of(shop())], PACE)
        for step in range(6):
            value = under_way.step()
            if step % every == 0:
                under_way.validate(value)
        ends.append(under_way.ranker)
    assert equal(*ends)


def test_the_rate_rises_and_falls():
    """The rate is nearly 0 at both ends, full in between, and never negative."""
    pace = TrainingSchedule(steps=100)
    speeds = [pace.speed(pace.done(step, 0)) for step in range(101)]
    assert speeds[0] < 0.05
    assert speeds[100] == pytest.approx(0)
    assert 0.9 < max(speeds) <= 1
    assert min(speeds) >= 0
    top = speeds.index(max(speeds))
    assert speeds == [*sorted(speeds[:top]), *sorted(speeds[top:], reverse=True)]
