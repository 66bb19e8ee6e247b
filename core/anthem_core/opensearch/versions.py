"""What the releases of OpenSearch do differently: one table, and a release read from what a cluster says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from anthem_core.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.encoding.bundle import Bundle

COMPATIBILITY_VERSION = (
    "7.10.2"  # told instead of their own number by 1.x and 2.x with compatibility.override_main_response_version
)
LEGACY_BM25_FACTOR = 2.2  # k1 + 1, with the k1 that an index has where none is set
OLDEST_LUCENE = (9, 12, 1)  # 2.18 has 9.12.0: told also behind the mask


class Release(NamedTuple):
    """A release of OpenSearch by its three numbers."""

    major: int
    minor: int
    patch: int = 0

    def has(self, difference: ReleaseDifference) -> bool:
        """Whether this release does what the difference says."""
        return self >= difference.since

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}" + (f".{self.patch}" if self.patch else "")


@dataclass(frozen=True)
class ReleaseDifference:
    """One row of the table: the first release that does something, and what ANTHEM Search does before it."""

    since: Release
    what: str
    before: str


OLDEST_RELEASE = Release(2, 19)
# An index remembers the release that created it, and a cluster may have indices older than itself.
VECTORS_WITHOUT_KNN_SETTING = ReleaseDifference(
    Release(2, 17),
    "a new index takes a knn_vector of dimension alone, without index.knn",
    "an index created before is refused, with the advice to reindex",
)
# k-NN issue 2540: each new field of a live document fails every shard of the index, which is back a moment later.
SAFE_MAPPING_CHANGES = ReleaseDifference(
    Release(2, 19, 3),
    "an index with vectors but without index.knn keeps its shards when its mapping changes",
    "ingest refuses such an index unless new fields leave its mapping alone, and makes new ones with index.knn",
)
BM25_WITHOUT_K1_FACTOR = ReleaseDifference(
    Release(3, 0),
    "BM25 scores lack the factor k1 + 1",
    "lexical scores are 2.2 times as large, and so must be the half-saturation of the fusion (`adapted`)",
)
SHARD_DOC_SORT = ReleaseDifference(
    Release(3, 3),
    "a point in time is read in an order of its own (_shard_doc)",
    "ingest reads by scroll",
)
RELEASE_DIFFERENCES = (VECTORS_WITHOUT_KNN_SETTING, SAFE_MAPPING_CHANGES, BM25_WITHOUT_K1_FACTOR, SHARD_DOC_SORT)


def adapt_bundle(bundle: Bundle, release: Release) -> Bundle:
    """The bundle for clusters of a release: half-saturation `h · (k1 + 1)` where scores have that factor."""
    if release.has(BM25_WITHOUT_K1_FACTOR):
        return bundle
    fusion = {
        signals: replace(one, half_saturation=one.half_saturation * LEGACY_BM25_FACTOR)
        for signals, one in bundle.fusion.items()
    }
    return replace(bundle, fusion=fusion)


def parse_release(info: Mapping[str, Any]) -> Release:
    """The release of the cluster that answered `info` to `GET /`.

    Raises:
        ClusterError: It is no OpenSearch, one before 2.19, or tells no version that can be read.
    """
    version = info.get("version")
    version = version if isinstance(version, dict) else {}
    number, kind = str(version.get("number", "")), version.get("distribution")
    if kind is None and "OpenSearch" in str(info.get("tagline")) and number == COMPATIBILITY_VERSION:
        return _parse_compatibility_release(version)
    if kind != "opensearch":
        raise _unsupported_error(f"{kind or 'no OpenSearch (such as Elasticsearch)'} {number or 'without a version'}")
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", number)
    if found is None:
        raise _unsupported_error(f"OpenSearch of a version that cannot be read ({number!r})")
    release = Release(*map(int, found.groups(default="0")))
    if release < OLDEST_RELEASE:
        raise _unsupported_error(f"OpenSearch {number}")
    return release


def _parse_compatibility_release(version: Mapping[str, Any]) -> Release:
    """The mask is gone in 3.0, so behind it is the oldest release that is taken, or one that is not."""
    lucene = str(version.get("lucene_version"))
    if tuple(map(int, re.findall(r"\d+", lucene)[:3])) < OLDEST_LUCENE:
        raise _unsupported_error(f"an OpenSearch that calls itself {COMPATIBILITY_VERSION}, with Lucene {lucene}")
    return OLDEST_RELEASE


def _unsupported_error(found: str) -> ClusterError:
    return ClusterError(
        f"The cluster is {found}; OpenSearch {OLDEST_RELEASE} or newer was wanted. Upgrade it, or name another with --url."
    )


def serverless_error() -> ClusterError:
    """The error for a cluster that has no `GET /`, as OpenSearch Serverless, which stores no scripts either."""
    return ClusterError(
        "GET / was answered 404, as OpenSearch Serverless does and OpenSearch does not; an OpenSearch cluster, "
        f"{OLDEST_RELEASE} or newer, was wanted. Use a cluster or a domain instead of a collection, or mend the path in --url."
    )
