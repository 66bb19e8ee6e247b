"""Reading a cluster's release, and the table of release differences."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import ClusterError
from anthem_core.opensearch.versions import (
    OLDEST_RELEASE,
    RELEASE_DIFFERENCES,
    Release,
    parse_release,
    serverless_error,
)

TAGLINE = "The OpenSearch Project: https://opensearch.org/"
VERSION_PARTS = st.integers(0, 99)


def info_of(number: object) -> dict:
    """Response to `GET /` of an OpenSearch with this version number."""
    return {"tagline": TAGLINE, "version": {"distribution": "opensearch", "number": number}}


@given(VERSION_PARTS, VERSION_PARTS, VERSION_PARTS, st.sampled_from(["", "-SNAPSHOT", "-rc1"]))
def test_a_release_is_read_or_refused(major, minor, patch, suffix):
    """The three numbers are the release: 2.19 and newer are accepted, older ones are refused by name."""
    number = f"{major}.{minor}.{patch}{suffix}"
    if (major, minor) >= (2, 19):
        assert parse_release(info_of(number)) == Release(major, minor, patch)
    else:
        with pytest.raises(ClusterError, match=rf"is OpenSearch {number}; expected OpenSearch 2\.19 or newer"):
            parse_release(info_of(number))


def test_a_missing_patch_number_is_zero():
    """`3.6` is release 3.6.0."""
    assert parse_release(info_of("3.6")) == Release(3, 6, 0)


@given(st.tuples(VERSION_PARTS, VERSION_PARTS, VERSION_PARTS), st.sampled_from(RELEASE_DIFFERENCES))
def test_releases_are_ordered_by_number(numbers, difference):
    """A release has every difference introduced in it or earlier, compared number by number: 2.9 is before 2.19."""
    assert Release(*numbers).has(difference) == (numbers >= tuple(difference.since))
    assert difference.since > Release(2, 9)


@given(VERSION_PARTS, VERSION_PARTS, st.integers(1, 99))
def test_a_release_is_printed_without_a_zero_patch(major, minor, patch):
    """The patch number is printed only if it is not 0."""
    assert (str(Release(major, minor)), str(Release(major, minor, patch))) == (
        f"{major}.{minor}",
        f"{major}.{minor}.{patch}",
    )


@pytest.mark.parametrize(
    ("info", "found"),
    [
        ({"version": {"number": "8.15.0"}, "tagline": "You Know, for Search"}, r"Elasticsearch\), version 8\.15\.0;"),
        ({"version": {"number": "7.10.2"}, "tagline": "You Know, for Search"}, r"Elasticsearch\), version 7\.10\.2;"),
        ({"version": {"number": "5.0.0", "distribution": "other"}}, r"other, version 5\.0\.0;"),
        ({}, "version missing;"),
        ({"version": "3.6.0"}, "version missing;"),
        (info_of("main"), "unreadable version .'main'.;"),
        (info_of(None), "unreadable version .'None'.;"),
        (info_of(""), "unreadable version .''.;"),
    ],
)
def test_other_clusters_are_refused(info, found):
    """Anything but OpenSearch with a readable version is refused: what was found, what was expected, what to do."""
    with pytest.raises(ClusterError, match=rf"{found} expected OpenSearch 2\.19 or newer.*--url"):
        parse_release(info)


@pytest.mark.parametrize(("lucene", "accepted"), [("9.12.1", True), ("9.12.3", True), ("9.12.0", False), (None, False)])
def test_compatibility_mode_is_recognised_by_lucene(lucene, accepted):
    """An OpenSearch 2.x that reports 7.10.2 for old clients is accepted if its Lucene is that of 2.19."""
    info = {"tagline": TAGLINE, "version": {"number": "7.10.2", "lucene_version": lucene}}
    if accepted:
        assert parse_release(info) == OLDEST_RELEASE
    else:
        with pytest.raises(ClusterError, match=rf"reports version 7\.10\.2, with Lucene {lucene}"):
            parse_release(info)


def test_serverless_is_named():
    """The error for a cluster without `GET /` names OpenSearch Serverless."""
    assert "OpenSearch Serverless" in str(serverless_error())


@pytest.mark.parametrize("difference", RELEASE_DIFFERENCES, ids=lambda difference: str(difference.since))
def test_the_table_is_in_the_documentation(difference):
    """Every difference is a row of the table in docs/clusters.md."""
    rows = (Path(__file__).parent.parent / "docs" / "clusters.md").read_text(encoding="utf-8").splitlines()
    assert f"| {difference.since} | {difference.behaviour} | {difference.before} |" in rows
