"""What a client finds out about an index before its first search: vector fields, text fields, the cluster's release."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import is_refusal
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, find_vector_fields, ingested_fields
from anthem_core.opensearch.versions import adapt_bundle, parse_release
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.search.request import RERANK_TIME_SHARE, IndexProfile, SendStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anthem_core.encoding.bundle import Bundle
    from anthem_core.opensearch.versions import Release
    from anthem_plugin.options import ClientOptions
    from anthem_plugin.search.request import SearchRequest, Steps

PROFILE_LIFETIME_SECONDS = 300.0
# Of a mapping, only the parts that matter here: a large mapping is not transferred with each refresh.
_MAPPING_FILTER = "*.mappings._meta.anthem,*.mappings.properties.anthem*.properties.vector.type"

_log = logging.getLogger(__name__)


class IndexProfiles:
    """Profiles by index name, each read at the first search of the index and again after five minutes.

    Safe to share between threads: at worst two threads read the same profile.
    """

    def __init__(self, bundle: Bundle, options: ClientOptions, clock: Callable[[], float] = time.monotonic) -> None:
        ScoringParams.from_bundle(bundle)  # raises BundleError here rather than at the first search
        self._bundle = bundle
        self._options = options
        self._clock = clock
        self._profiles: dict[str | None, tuple[IndexProfile, float]] = {}

    def read(self, request: SearchRequest) -> Steps[IndexProfile]:
        """The profile of the request's index: sends at most two requests, and none if the profile is already known.

        Raises:
            opensearchpy.exceptions.TransportError: The cluster does not answer, or fails.
            RerankSkipped: The time for reranking is used up.
        """
        key = None if request.index is None else str(request.index)
        profile, expires = self._profiles.get(key, (None, 0.0))
        if profile is None or self._clock() >= expires:
            profile = yield from self._discover(request)
            self._profiles[key] = profile, self._clock() + PROFILE_LIFETIME_SECONDS
            _log.info("Index %s: %s", key, profile.to_dict())
        return profile

    def to_dict(self) -> dict[str, Any]:
        """What was found, by index."""
        return {str(index): profile.to_dict() for index, (profile, _) in self._profiles.items()}

    def _discover(self, request: SearchRequest) -> Steps[IndexProfile]:
        release = yield from _read_release(request)
        mappings = yield from self._read_mappings(request)
        bundle = self._bundle if release is None else adapt_bundle(self._bundle, release)
        fields = self._options.fields or find_vector_fields(mappings.values(), bundle.model_id)
        text_fields = self._options.text_fields
        if text_fields is None:
            recorded = (ingested_fields(mapping, fields.name) for mapping in mappings.values())
            text_fields = next(filter(None, recorded), DEFAULT_TEXT_FIELDS)
        return IndexProfile(ScoringParams.from_bundle(bundle, fields), tuple(text_fields), release)

    def _read_mappings(self, request: SearchRequest) -> Steps[Mapping[str, Mapping[str, Any]]]:
        """Mappings of the indices by name; empty if they are not needed or the cluster refuses to show them.

        A body with a point in time names no index, and an index of a remote cluster has no mapping here.
        """
        is_needed = self._options.fields is None or self._options.text_fields is None
        if request.index is None or not is_needed:
            return {}
        arguments = {"index": request.index, "filter_path": _MAPPING_FILTER}
        try:
            response = yield SendStep("indices.get_mapping", arguments | request.timeout_option(RERANK_TIME_SHARE))
        except TransportError as error:
            if not is_refusal(error):
                raise
            return {}
        return {name: index.get("mappings", {}) for name, index in response.items()}


def _read_release(request: SearchRequest) -> Steps[Release | None]:
    """Release of the cluster; None if it refuses to say or is not an OpenSearch release that is supported."""
    try:
        info = yield SendStep("info", request.timeout_option(RERANK_TIME_SHARE))
        return parse_release(info)
    except ClusterError:
        return None
    except TransportError as error:
        if not is_refusal(error):
            raise
        return None
