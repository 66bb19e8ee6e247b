"""The trained models of the comparison by name; each is built from the titles and the queries of a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_model.trainer.training import TrainingPlan, build_initialised_ranker
from rankers.arc import ArcOne, ArcTwo
from rankers.bi_encoder import SentenceBiEncoder, find_packaged_minilm
from rankers.drmm import Drmm
from rankers.dssm import Cdssm, Dssm
from rankers.duet import Duet
from rankers.knrm import ConvKnrm, Knrm
from rankers.letter_ngrams import NgramVocabulary
from rankers.lexicon import Lexicon

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anthem_model.ranker import TrainableRanker


def _build_duet(titles: Sequence[str], queries: Sequence[str]) -> TrainableRanker:
    vocabulary = NgramVocabulary([*titles, *queries], sizes=(1, 2, 3, 4, 5), max_ngrams=2000, buckets=0)
    return Duet(Lexicon(titles, queries), vocabulary)


RANKER_BUILDERS: dict[str, Callable[[Sequence[str], Sequence[str]], TrainableRanker]] = {
    "anthem": lambda titles, queries: build_initialised_ranker(titles, queries, TrainingPlan()),
    "e_anthem": lambda titles, queries: build_initialised_ranker(titles, queries, TrainingPlan(geometry="euclid")),
    "dssm": lambda titles, queries: Dssm(NgramVocabulary([*titles, *queries])),
    "cdssm": lambda titles, queries: Cdssm(NgramVocabulary([*titles, *queries])),
    "arc1": lambda titles, queries: ArcOne(Lexicon(titles, queries)),
    "arc2": lambda titles, queries: ArcTwo(Lexicon(titles, queries)),
    "drmm": lambda titles, queries: Drmm(Lexicon(titles, queries)),
    "knrm": lambda titles, queries: Knrm(Lexicon(titles, queries)),
    "conv_knrm": lambda titles, queries: ConvKnrm(Lexicon(titles, queries)),
    "duet": _build_duet,
    "minilm_tuned": lambda _titles, _queries: SentenceBiEncoder(find_packaged_minilm(), frozen_layers=3),
}
