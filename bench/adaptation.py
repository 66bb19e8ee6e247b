"""The bundle `general`, adapted to the titles of a catalogue as `anthem train --from general --teacher` does."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from anthem_exporter.export import export_bundle
from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.base_model import load_base
from anthem_model.checkpoint import Checkpoint
from anthem_model.data.training_shop import ShopSplit, TrainingShop
from anthem_model.recalibration import carry_calibration
from anthem_model.trainer.training import TrainingPlan, TrainingSources, train_anthem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anthem_core.beir import Dataset
    from anthem_core.encoding.bundle import Bundle
    from anthem_model.initialisation.teacher import AnyTeacher
    from candidates import CandidateSplit

MAX_TITLES = 20_000  # of a larger catalogue, the teacher reads only the titles that are ranked
PARITY_TITLES = 200


def adapt_general(name: str, titles: Sequence[str], teacher: AnyTeacher, folder: Path) -> Bundle:
    """Adapt the model of `general` to titles, and export it to a folder; no judgment is read."""
    base = load_base("general")
    shop, nothing = TrainingShop(name, list(titles), []), TrainingShop(name, [], [])
    trained = train_anthem([ShopSplit(shop, nothing)], TrainingPlan(), TrainingSources(base, teacher))
    base_ranker = AnthemRanker(base.vocabulary, base.model).eval()
    calibration = carry_calibration(base.calibration, base_ranker, trained.ranker, [shop])
    names = [*base.trained_on, name]
    checkpoint = Checkpoint(
        trained.ranker.network, trained.ranker.vocabulary, calibration, names, coordinates=trained.coordinates
    )
    sample = random.Random(0).sample(list(titles), min(PARITY_TITLES, len(titles)))
    bundle, _ = export_bundle(checkpoint, folder, sample)
    return bundle


def adaptation_titles(dataset: Dataset, dev: CandidateSplit) -> list[str]:
    """All titles of a catalogue, or those of the candidates of `dev` if it has more than `MAX_TITLES`."""
    ids = list(dataset.products)
    if len(ids) > MAX_TITLES:
        ids = [product for candidates in dev.candidates.values() for product in candidates.product_ids]
    return list(dict.fromkeys(dataset.products[product].title for product in ids))
