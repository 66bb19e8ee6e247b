"""How the releases of OpenSearch differ where ANTHEM Search depends on it, and which release a cluster runs."""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from anthem_core.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping


# The version that 1.x and 2.x report for old clients when compatibility.override_main_response_version is set.
COMPATIBILITY_VERSION = "7.10.2"
ELASTICSEARCH_TAGLINE = "You Know, for Search"
# Lucene of the oldest supported release, reported in compatibility mode too; 2.18 has 9.12.0.
OLDEST_LUCENE = (9, 12, 1)


# Not `packaging.version`, which rejects the `-SNAPSHOT` of development builds and sorts `3.0.0-rc1` before 3.0.0.
class Release(NamedTuple):
    """A release of OpenSearch: major, minor and patch number."""

    major: int
    minor: int
    patch: int = 0

    def has(self, difference: ReleaseDifference) -> bool:
        """Whether this release behaves as the difference describes."""
        return self >= difference.since

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}" + (f".{self.patch}" if self.patch else "")


@dataclass(frozen=True)
class ReleaseDifference:
    """A change in OpenSearch: the first release that has it, what it is, and what older releases do."""

    since: Release
    behaviour: str
    before: str


OLDEST_RELEASE = Release(2, 19)
# An index keeps the version that created it, so a cluster may have indices older than itself.
VECTORS_WITHOUT_KNN_SETTING = ReleaseDifference(
    Release(2, 17),
    "a new index accepts a knn_vector with a dimension alone, without index.knn",
    "an index created earlier is refused, with the advice to reindex",
)
# k-NN issue 2540: each new field in a document fails every shard of the index, which recovers a moment later.
SAFE_MAPPING_CHANGES = ReleaseDifference(
    Release(2, 19, 3),
    "an index with vectors but without index.knn keeps its shards when its mapping changes",
    "ingest refuses such an index unless new fields do not change its mapping, and creates new indices with index.knn",
)
BM25_WITHOUT_K1_FACTOR = ReleaseDifference(
    Release(3, 0),
    "BM25 scores lack the factor k1 + 1",
    "lexical scores are 2.2 times as large; the fusion compares their ratios, so the order is nearly the same",
)
COMBINED_FIELDS = ReleaseDifference(
    Release(3, 2),
    "the query combined_fields exists",
    "a search with it is refused, as without ANTHEM Search",
)
SHARD_DOC_SORT = ReleaseDifference(
    Release(3, 3),
    "a point in time can be sorted by _shard_doc",
    "ingest reads by scroll",
)
RELEASE_DIFFERENCES = (
    VECTORS_WITHOUT_KNN_SETTING, SAFE_MAPPING_CHANGES, BM25_WITHOUT_K1_FACTOR, COMBINED_FIELDS, SHARD_DOC_SORT,
)  # fmt: skip


class UnsupportedClusterError(ClusterError):
    """The cluster is not OpenSearch, or not of a supported release; `cluster` says what it is."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        super().__init__(
            f"The cluster is {cluster}; expected OpenSearch {OLDEST_RELEASE} or newer. "
            "Upgrade it, or name another cluster with --url."
        )


def parse_release(info: Mapping[str, Any]) -> Release:
    """Release of a cluster, from its response to `GET /`.

    Raises:
        UnsupportedClusterError: It is not OpenSearch, is older than 2.19, or its version cannot be read.
    """
    if not isinstance(info, dict):
        raise UnsupportedClusterError(f"not OpenSearch: it answers GET / with {reprlib.repr(info)}")
    version = info.get("version")
    version = version if isinstance(version, dict) else {}
    number, distribution = str(version.get("number", "")), version.get("distribution")
    if distribution is None and "OpenSearch" in str(info.get("tagline")) and number == COMPATIBILITY_VERSION:
        return _parse_compatibility_release(version)
    if distribution != "opensearch":
        name = distribution or f"not OpenSearch ({'' if is_elasticsearch(info) else 'perhaps '}Elasticsearch)"
        raise UnsupportedClusterError(f"{name}, version {number or 'missing'}")
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", number)
    if match is None:
        raise UnsupportedClusterError(f"OpenSearch of an unreadable version ({number!r})")
    release = Release(*map(int, match.groups(default="0")))
    if release < OLDEST_RELEASE:
        raise UnsupportedClusterError(f"OpenSearch {number}")
    return release


def is_elasticsearch(info: object) -> bool:
    """Whether a response to `GET /` is that of Elasticsearch, of any version."""
    if not isinstance(info, dict) or "OpenSearch" in str(info.get("tagline")):
        return False
    version = info.get("version")
    version = version if isinstance(version, dict) else {}
    is_named = bool(version.get("build_flavor")) or info.get("tagline") == ELASTICSEARCH_TAGLINE
    return is_named and version.get("distribution") is None


def _parse_compatibility_release(version: Mapping[str, Any]) -> Release:
    """Release of a cluster in compatibility mode, which 3.0 removed; the version of Lucene shows whether it is 2.19."""
    lucene = str(version.get("lucene_version"))
    if tuple(map(int, re.findall(r"\d+", lucene)[:3])) < OLDEST_LUCENE:
        raise UnsupportedClusterError(
            f"an OpenSearch that reports version {COMPATIBILITY_VERSION}, with Lucene {lucene}"
        )
    return OLDEST_RELEASE


def serverless_error() -> ClusterError:
    """The error for a cluster without `GET /`, such as OpenSearch Serverless, which cannot store scripts either."""
    return ClusterError(
        "The cluster answered GET / with 404, as OpenSearch Serverless does; expected an OpenSearch cluster, "
        f"{OLDEST_RELEASE} or newer. Use a cluster or a domain instead of a collection, or fix the path in --url."
    )
