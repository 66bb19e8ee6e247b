"""The rankers by name, each built from a catalogue's titles and its queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_model.rankers.arc import Arc1, Arc2
from anthem_model.rankers.drmm import Drmm
from anthem_model.rankers.dssm import Cdssm, Dssm
from anthem_model.rankers.duet import Duet
from anthem_model.rankers.knrm import ConvKnrm, Knrm
from anthem_model.rankers.letters import Letters
from anthem_model.rankers.sentence import Sentence, packaged_model
from anthem_model.rankers.words import Lexicon
from anthem_model.training import Plan, started

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anthem_model.ranker import Ranker


def _duet(texts: Sequence[str], queries: Sequence[str]) -> Ranker:
    return Duet(Lexicon(texts, queries), Letters([*texts, *queries], sizes=(1, 2, 3, 4, 5), most=2000, buckets=0))


RANKERS: dict[str, Callable[[Sequence[str], Sequence[str]], Ranker]] = {
    "anthem": lambda texts, queries: started(texts, queries, Plan()),
    "e_anthem": lambda texts, queries: started(texts, queries, Plan(geometry="euclid")),
    "dssm": lambda texts, queries: Dssm(Letters([*texts, *queries])),
    "cdssm": lambda texts, queries: Cdssm(Letters([*texts, *queries])),
    "arc1": lambda texts, queries: Arc1(Lexicon(texts, queries)),
    "arc2": lambda texts, queries: Arc2(Lexicon(texts, queries)),
    "drmm": lambda texts, queries: Drmm(Lexicon(texts, queries)),
    "knrm": lambda texts, queries: Knrm(Lexicon(texts, queries)),
    "conv_knrm": lambda texts, queries: ConvKnrm(Lexicon(texts, queries)),
    "duet": _duet,
    "minilm_tuned": lambda _texts, _queries: Sentence(packaged_model(), frozen=3),
}
