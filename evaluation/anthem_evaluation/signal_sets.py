"""The order by each set of signals that an index has: by the lexical score and containment, attention, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_core.console import progress
from anthem_evaluation.measure import RUN_DEPTH
from anthem_evaluation.runs import rank_scores
from anthem_evaluation.tune.candidates import CandidateReader, ranking_signals, read_candidate_lists
from anthem_evaluation.tune.quality_grid import window_orders
from anthem_plugin.scoring.params import FUSION_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_evaluation.judgments import JudgedQueries
    from anthem_evaluation.measure import SearchSetup
    from anthem_evaluation.runs import Run
    from anthem_evaluation.tune.candidates import CandidateList
    from anthem_plugin.scoring.params import ScoringParams, Signals


def run_signal_sets(cluster: OpenSearch, setup: SearchSetup, judged: JudgedQueries, encoder: Encoder) -> dict[str, Run]:
    """The run of each set of signals, as `client` mode ranks an index that has only these; by the names of the sets.

    The hits of every query are read once. Empty if the index has one signal, whose order is that of the modes, or if
    its hits lack the values of one.

    Raises:
        ClusterError: The cluster refuses.
        DataError: The body of the search cannot be reranked.
    """
    reader = CandidateReader.create(cluster, setup, encoder, setup.fit(max(setup.window, RUN_DEPTH)))
    if len(reader.profile.signals) < 2:
        return {}
    with progress("searching, each set of signals", len(judged.qrels)) as advance:
        candidates = read_candidate_lists(reader, judged, advance)
    available = ranking_signals(candidates)
    sets = {name: signals for signals, name in FUSION_NAMES.items() if signals <= available}
    scoring = reader.profile.scoring
    return {name: rank_by_signals(candidates, scoring, signals, setup.window) for name, signals in sets.items()}


def rank_by_signals(candidates: Iterable[CandidateList], scoring: ScoringParams, signals: Signals, window: int) -> Run:
    """The first hundred hits of each query, the window reranked by the lexical score and some signals of the model."""
    run = {}
    for each in candidates:
        order = window_orders(each.only(signals), [scoring], window)[0][:RUN_DEPTH]
        run[each.query] = rank_scores([each.ids[place] for place in order])
    return run
