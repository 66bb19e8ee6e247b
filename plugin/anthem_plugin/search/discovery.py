"""What a client finds out about an index before its first search: the model's fields and signals, and text fields."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import AuthorizationException, NotFoundError, RequestError
from opensearchpy.exceptions import ConnectionError as NoConnection

from anthem_core.opensearch.schema import (
    DEFAULT_TEXT_FIELDS,
    MODEL_OBJECT_KEYS,
    VALUE_OF_SIGNAL,
    ModelFields,
    fields_of_model,
    find_model_fields,
    ingested_fields,
)
from anthem_plugin.rewriter.source_filtering import SearchedFields
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.search.index_notes import (
    describe_pending,
    describe_unsourced,
    find_left_out,
    list_hidden,
    list_indices_without_source,
    no_source_reason,
)
from anthem_plugin.search.index_signals import read_index_signals
from anthem_plugin.search.missing_values import find_untitled
from anthem_plugin.search.point_in_time import PointsInTime, point_in_time_id
from anthem_plugin.search.request import IndexProfile, SendStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anthem_core.encoding.bundle import Bundle
    from anthem_plugin.options import ClientOptions
    from anthem_plugin.search.request import SearchRequest, Steps

DISCOVERY_TIME_SHARE = 0.1  # of the request's time-out; the rest is for the search
PROFILE_LIFETIME_SECONDS = 300.0
RETRY_SECONDS = 30.0  # after a discovery that failed, or a search that found no values of the model
MAX_PROFILES = 256
# Of a mapping, only the parts that matter here: a large mapping is not transferred with each refresh.
_META_FILTER, _SOURCE_FILTER = "*.mappings._meta.anthem", "*.mappings._source"
_DYNAMIC_FILTER = "*.mappings.dynamic"
_TYPE_FILTER = "*.mappings.properties.*.type"  # an index without any value of a model is in the response too
_VALUE_FILTER = "*.mappings.properties.*.properties.{}"  # of any object: its name may be recorded in `_meta`
_PART_FILTER = "*.mappings.properties.*.properties.*.type"  # tells an object of a model from one of the user's
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
        self._profiles: OrderedDict[str, tuple[IndexProfile, float]] = OrderedDict()
        self._points_in_time = PointsInTime()
        self._default = self._build_profile(None)  # raises BundleError here rather than at the first search

    def read(self, request: SearchRequest) -> Steps[IndexProfile]:
        """The profile of the request's index; no request if it is known already, else one, two for a point in time."""
        try:
            request = yield from self._points_in_time.read(request, _headers(request), DISCOVERY_TIME_SHARE)
        except Exception as error:  # noqa: BLE001 (nothing about discovery may break reranking)
            _log_unread("of a point in time", error, self._default)
            return self._default
        if point_in_time_id(request) is not None:  # none of its indices has a product
            return self._default
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
            _log_unread(key, error, profile)
        else:
            self._store(key, profile, PROFILE_LIFETIME_SECONDS)
            _log.info("Index %s: %s", key, profile.to_dict())
        return profile

    def expire_soon(self, request: SearchRequest) -> None:
        """Read the profile of the request's index again after half a minute, because its values may have moved."""
        key = _profile_key(self._points_in_time.with_index(request))
        profile, expires = self._profiles.get(key, (None, 0.0))
        if profile is not None and expires > self._clock() + RETRY_SECONDS:
            self._store(key, profile, RETRY_SECONDS)

    def to_dict(self) -> dict[str, Any]:
        """What was found, by index."""
        with self._lock:
            return {index: profile.to_dict() for index, (profile, _) in self._profiles.items()}

    def _store(self, key: str, profile: IndexProfile, lifetime: float) -> None:
        with self._lock:
            self._profiles[key] = profile, self._clock() + lifetime
            self._profiles.move_to_end(key)
            if len(self._profiles) > MAX_PROFILES:
                self._profiles.popitem(last=False)

    def _discover(self, request: SearchRequest) -> Steps[IndexProfile]:
        mappings = yield from self._read_mappings(request)
        return self._build_profile(mappings)

    def _build_profile(self, mappings: Mapping[str, Mapping[str, Any]] | None) -> IndexProfile:
        """The profile that mappings by index name give; without any, the options and defaults, and all signals."""
        known = (mappings or {}).values()
        fields = self._options.fields or find_model_fields(known, self._bundle.model_id)
        text_fields = self._options.text_fields
        if text_fields is None:
            recorded = (ingested_fields(mapping, fields.name) for mapping in known)
            text_fields = next(filter(None, recorded), DEFAULT_TEXT_FIELDS)
        searched = self._hide_usual(fields) if mappings is None else list_hidden(fields.name, mappings)
        scoring = ScoringParams.from_bundle(self._bundle, searched)
        if mappings is None:
            return IndexProfile(scoring, tuple(text_fields))
        if without_source := list_indices_without_source(mappings):
            # Every search that reranks filters `_source`, which OpenSearch refuses for these indices.
            return IndexProfile(replace(scoring, signals=frozenset()), (), (no_source_reason(without_source),))
        scoring, faults = read_index_signals(mappings, scoring)
        return IndexProfile(
            scoring,
            tuple(text_fields),
            (*faults, *describe_pending(mappings, fields)),
            describe_unsourced(mappings, scoring),
            tuple(sorted(mappings)),
            find_left_out(mappings, scoring),
            find_untitled(mappings),
        )

    def _hide_usual(self, fields: ModelFields) -> SearchedFields:
        """What is hidden without mappings: the values in the usual objects, so that a keyword `anthem` is not."""
        names = dict.fromkeys((fields.name, ModelFields().name, fields_of_model(self._bundle.model_id).name))
        return SearchedFields(
            fields.name, tuple(f"{name}.{key}" for name in names for key in sorted(MODEL_OBJECT_KEYS))
        )

    def _read_mappings(self, request: SearchRequest) -> Steps[Mapping[str, Mapping[str, Any]] | None]:
        """Mappings by name of the indices, all if the request names none; None if the cluster forbids reading them."""
        arguments = {"index": request.index, "filter_path": self._mapping_filter(), **_passed_on(request)}
        try:
            response = yield SendStep("indices.get_mapping", arguments | request.timeout_option(DISCOVERY_TIME_SHARE))
        except AuthorizationException:
            return None
        return {name: index.get("mappings", {}) for name, index in sorted(response.items())}  # not in a random order

    @staticmethod
    def _mapping_filter() -> str:
        values = (_VALUE_FILTER.format(value) for value in VALUE_OF_SIGNAL.values())
        return ",".join((_META_FILTER, _SOURCE_FILTER, _DYNAMIC_FILTER, _TYPE_FILTER, _PART_FILTER, *values))


def _profile_key(request: SearchRequest) -> str:
    return str(request.index or "_all")


def _passed_on(request: SearchRequest) -> dict[str, Any]:
    """Options of the search that its discovery needs too: headers, and how index names are resolved."""
    options = {**(request.options.get("params") or {}), **request.options}
    return _headers(request) | {name: options[name] for name in _INDEX_OPTIONS if name in options}


def _headers(request: SearchRequest) -> dict[str, Any]:
    return {name: request.options[name] for name in ("headers", "opaque_id") if name in request.options}


def _log_unread(index: str, error: Exception, used: IndexProfile) -> None:
    # If the cluster does not answer, has no such index or refuses, the search fails too, with an error of its own.
    level = logging.INFO if isinstance(error, NoConnection | NotFoundError | RequestError) else logging.WARNING
    _log.log(level, "Index %s: mapping not read (%s); using %s", index, error, used.to_dict())
