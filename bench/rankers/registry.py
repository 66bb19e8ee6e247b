"""The rankers by name, each built from a catalogue's titles and its queries."""

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


def _build_duet(texts: Sequence[str], queries: Sequence[str]) -> TrainableRanker:
    return Duet(
        Lexicon(texts, queries), NgramVocabulary([*texts, *queries], sizes=(1, 2, 3, 4, 5), most=2000, buckets=0)
    )


RANKER_BUILDERS: dict[str, Callable[[Sequence[str], Sequence[str]], TrainableRanker]] = {
    "anthem": lambda texts, queries: build_initialised_ranker(texts, queries, TrainingPlan()),
    "e_anthem": lambda texts, queries: build_initialised_ranker(texts, queries, TrainingPlan(geometry="euclid")),
    "dssm": lambda texts, queries: Dssm(NgramVocabulary([*texts, *queries])),
    "cdssm": lambda texts, queries: Cdssm(NgramVocabulary([*texts, *queries])),
    "arc1": lambda texts, queries: ArcOne(Lexicon(texts, queries)),
    "arc2": lambda texts, queries: ArcTwo(Lexicon(texts, queries)),
    "drmm": lambda texts, queries: Drmm(Lexicon(texts, queries)),
    "knrm": lambda texts, queries: Knrm(Lexicon(texts, queries)),
    "conv_knrm": lambda texts, queries: ConvKnrm(Lexicon(texts, queries)),
    "duet": _build_duet,
    "minilm_tuned": lambda _texts, _queries: SentenceBiEncoder(find_packaged_minilm(), frozen=3),
}
