"""Laws of how a cluster's release is read, and of the table of differences."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import ClusterError
from anthem_core.fusion import saturate
from anthem_core.opensearch.versions import (
    LEGACY_BM25_FACTOR,
    OLDEST_RELEASE,
    RELEASE_DIFFERENCES,
    Release,
    adapt_bundle,
    parse_release,
    serverless_error,
)

TAGLINE = "The OpenSearch Project: https://opensearch.org/"
SMALL = st.integers(0, 99)


def told(number: object, **more: object) -> dict:
    """Return what an OpenSearch of this number answers to `GET /`."""
    return {"tagline": TAGLINE, "version": {"distribution": "opensearch", "number": number, **more}}


@given(SMALL, SMALL, SMALL, st.sampled_from(["", "-SNAPSHOT", "-rc1"]))
def test_a_release_is_read_or_refused(major, minor, patch, end):
    """Three numbers are the release: from 2.19 on it is taken, before it is refused by what it calls itself."""
    number = f"{major}.{minor}.{patch}{end}"
    if (major, minor) >= (2, 19):
        assert parse_release(told(number)) == Release(major, minor, patch)
    else:
        with pytest.raises(ClusterError, match=rf"is OpenSearch {number}; OpenSearch 2\.19 or newer was wanted"):
            parse_release(told(number))


def test_a_release_without_a_patch_is_its_first():
    """Where the third number is missing it is 0."""
    assert parse_release(told("3.6")) == Release(3, 6, 0)


@given(st.tuples(SMALL, SMALL, SMALL), st.sampled_from(RELEASE_DIFFERENCES))
def test_releases_are_ordered_by_number(numbers, difference):
    """A release has what came with it or before it, compared number by number: 2.9 comes before 2.19."""
    assert Release(*numbers).has(difference) == (numbers >= tuple(difference.since))
    assert difference.since > Release(2, 9)


@given(SMALL, SMALL, st.integers(1, 99))
def test_a_release_is_written_as_short_as_it_can_be(major, minor, patch):
    """The third number is written where it is not 0."""
    assert (str(Release(major, minor)), str(Release(major, minor, patch))) == (
        f"{major}.{minor}",
        f"{major}.{minor}.{patch}",
    )


@pytest.mark.parametrize(
    ("info", "found"),
    [
        ({"version": {"number": "8.15.0"}, "tagline": "You Know, for Search"}, r"Elasticsearch\) 8\.15\.0"),
        ({"version": {"number": "7.10.2"}, "tagline": "You Know, for Search"}, r"Elasticsearch\) 7\.10\.2"),
        ({"version": {"number": "5.0.0", "distribution": "other"}}, r"other 5\.0\.0"),
        ({}, "without a version"),
        ({"version": "3.6.0"}, "without a version"),
        (told("main"), "cannot be read .'main'"),
        (told(None), "cannot be read .'None'"),
        (told(""), "cannot be read .''"),
    ],
)
def test_others_are_refused_with_what_was_found(info, found):
    """What is no OpenSearch, or tells no number, is refused: what was found, what was wanted, what to do."""
    with pytest.raises(ClusterError, match=rf"{found}.*2\.19 or newer was wanted.*--url"):
        parse_release(info)


@pytest.mark.parametrize(("lucene", "taken"), [("9.12.1", True), ("9.12.3", True), ("9.12.0", False), (None, False)])
def test_a_release_behind_the_mask_is_known_by_its_lucene(lucene, taken):
    """An OpenSearch 2.x that calls itself 7.10.2 for old clients is taken when its Lucene is that of 2.19."""
    info = {"tagline": TAGLINE, "version": {"number": "7.10.2", "lucene_version": lucene}}
    if taken:
        assert parse_release(info) == OLDEST_RELEASE
    else:
        with pytest.raises(ClusterError, match=rf"calls itself 7\.10\.2, with Lucene {lucene}"):
            parse_release(info)


@given(lexical=st.floats(0.01, 1000))
def test_an_adapted_bundle_saturates_alike(bundle, lexical):
    """A score counts for as much on 2.19 as the same product's smaller one on 3.x; the model stays the same."""
    old = adapt_bundle(bundle, OLDEST_RELEASE)
    assert adapt_bundle(bundle, Release(3, 0)) is bundle
    assert (old.model, old.fusion.keys()) == (bundle.model, bundle.fusion.keys())
    for signals, fusion in bundle.fusion.items():
        there = saturate(np.array(lexical * LEGACY_BM25_FACTOR), old.fusion[signals].half_saturation)
        assert there == pytest.approx(saturate(np.array(lexical), fusion.half_saturation), rel=1e-12)


def test_serverless_is_told_apart():
    """Where there is no `GET /` the error names the product that has none."""
    assert "OpenSearch Serverless" in str(serverless_error())


@pytest.mark.parametrize("difference", RELEASE_DIFFERENCES, ids=lambda one: str(one.since))
def test_the_table_is_in_the_documentation(difference):
    """Every difference is a row of the table in docs/clusters.md."""
    rows = (Path(__file__).parent.parent / "docs" / "clusters.md").read_text(encoding="utf-8").splitlines()
    assert f"| {difference.since} | {difference.what} | {difference.before} |" in rows
