"""What a client finds out about an index before its first search: vector fields, text fields, the cluster's release."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import AuthorizationException, NotFoundError
from opensearchpy.exceptions import ConnectionError as NoConnection

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, find_vector_fields, ingested_fields
from anthem_core.opensearch.versions import adapt_bundle, parse_release
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.search.request import IndexProfile, SendStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anthem_core.encoding.bundle import Bundle
    from anthem_core.opensearch.versions import Release
    from anthem_plugin.options import ClientOptions
    from anthem_plugin.search.request import SearchRequest, Steps

DISCOVERY_TIME_SHARE = 0.1  # of the request's time-out; the rest is for the search
PROFILE_LIFETIME_SECONDS = 300.0
RETRY_SECONDS = 30.0  # after a discovery that failed, or a search that found no vectors
MAX_PROFILES = 256
# Of a mapping, only the parts that matter here: a large mapping is not transferred with each refresh.
_MAPPING_FILTER = "*.mappings._meta.anthem,*.mappings.properties.anthem*.properties.vector.type"
_INDEX_OPTIONS = ("allow_no_indices", "expand_wildcards", "ignore_unavailable")

_log = logging.getLogger(__name__)


class IndexProfiles:
    """Profiles by index name, each read at the first search of the index and again after five minutes.

    A discovery that fails never costs a search its reranking: the last known profile is used, or the defaults, and the
    next try is half a minute later. Safe to share between threads; threads that search an index for the first time at
    the same moment each read its profile.
    """

    def __init__(self, bundle: Bundle, options: ClientOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._bundle = bundle
        self._options = options
        self._clock = clock
        self._lock = Lock()
        self._profiles: OrderedDict[str | None, tuple[IndexProfile, float]] = OrderedDict()
        self._default = self._build_profile({}, None)  # raises BundleError here rather than at the first search

    def read(self, request: SearchRequest) -> Steps[IndexProfile]:
        """The profile of the request's index; at most two requests, none if it is known already."""
        key = _profile_key(request)
        known, expires = self._profiles.get(key, (None, 0.0))
        if known is not None and self._clock() < expires:
            return known
        if known is not None:
            self._store(key, known, RETRY_SECONDS)  # other threads use it while this one reads
        try:
            profile = yield from self._discover(request)
        except Exception as error:  # noqa: BLE001 (nothing about discovery may break reranking)
            profile = known or self._default
            self._store(key, profile, RETRY_SECONDS)
            # If the cluster does not answer, the search fails too, with an error of its own.
            level = logging.INFO if isinstance(error, NoConnection) else logging.WARNING
            _log.log(level, "Index %s: mapping or release not read (%s); using %s", key, error, profile.to_dict())
        else:
            self._store(key, profile, PROFILE_LIFETIME_SECONDS)
            _log.info("Index %s: %s", key, profile.to_dict())
        return profile

    def expire_soon(self, request: SearchRequest) -> None:
        """Read the profile of the request's index again after half a minute: its vectors may be elsewhere by now."""
        key = _profile_key(request)
        profile, expires = self._profiles.get(key, (None, 0.0))
        if profile is not None and expires > self._clock() + RETRY_SECONDS:
            self._store(key, profile, RETRY_SECONDS)

    def to_dict(self) -> dict[str, Any]:
        """What was found, by index."""
        with self._lock:
            return {str(index): profile.to_dict() for index, (profile, _) in self._profiles.items()}

    def _store(self, key: str | None, profile: IndexProfile, lifetime: float) -> None:
        with self._lock:
            self._profiles[key] = profile, self._clock() + lifetime
            self._profiles.move_to_end(key)
            if len(self._profiles) > MAX_PROFILES:
                self._profiles.popitem(last=False)

    def _discover(self, request: SearchRequest) -> Steps[IndexProfile]:
        release = yield from _read_release(request)
        mappings = yield from self._read_mappings(request)
        return self._build_profile(mappings, release)

    def _build_profile(self, mappings: Mapping[str, Mapping[str, Any]], release: Release | None) -> IndexProfile:
        bundle = self._bundle if release is None else adapt_bundle(self._bundle, release)
        fields = self._options.fields or find_vector_fields(mappings.values(), bundle.model_id)
        text_fields = self._options.text_fields
        if text_fields is None:
            recorded = (ingested_fields(mapping, fields.name) for mapping in mappings.values())
            text_fields = next(filter(None, recorded), DEFAULT_TEXT_FIELDS)
        return IndexProfile(ScoringParams.from_bundle(bundle, fields), tuple(text_fields), release)

    def _read_mappings(self, request: SearchRequest) -> Steps[Mapping[str, Mapping[str, Any]]]:
        """Mappings of the indices by name; empty if they are not needed, or if the cluster forbids to read them.

        A body with a point in time names no index.
        """
        is_needed = self._options.fields is None or self._options.text_fields is None
        if request.index is None or not is_needed:
            return {}
        arguments = {"index": request.index, "filter_path": _MAPPING_FILTER, **_passed_on(request, _INDEX_OPTIONS)}
        try:
            response = yield SendStep("indices.get_mapping", arguments | request.timeout_option(DISCOVERY_TIME_SHARE))
        except AuthorizationException:
            return {}
        return {name: index.get("mappings", {}) for name, index in response.items()}


def _read_release(request: SearchRequest) -> Steps[Release | None]:
    """Release of the cluster; None if it does not say, or is not an OpenSearch release that is supported."""
    try:
        info = yield SendStep("info", _passed_on(request) | request.timeout_option(DISCOVERY_TIME_SHARE))
        return parse_release(info)
    except (AuthorizationException, ClusterError, NotFoundError):
        return None


def _profile_key(request: SearchRequest) -> str | None:
    return None if request.index is None else str(request.index)


def _passed_on(request: SearchRequest, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Options of the search that its discovery needs too: headers, and how index names are resolved."""
    options = {**(request.options.get("params") or {}), **request.options}
    return {name: options[name] for name in ("headers", "opaque_id", *names) if name in options}
