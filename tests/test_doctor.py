"""Laws of what `anthem doctor` makes of the facts; no cluster is needed. tests/test_doctor_node.py has the real one."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.opensearch.schema import VectorFields, fields_of_model
from anthem_doctor.checks import cluster as cluster_checks
from anthem_doctor.checks import index as index_checks
from anthem_doctor.findings import (
    DoctorTarget,
    Finding,
    UnavailableFact,
    findings_to_json,
    findings_to_text,
    judge_fact,
)
from anthem_ingest.cli import ingest
from anthem_ingest.mapping import HNSW_METHOD, IndexDescription
from anthem_plugin.scoring.painless import build_put_script_body

ROOT = Path(__file__).parents[1]
SETTINGS = {"version": {"created": str(3060099 ^ 0x08000000)}, "number_of_shards": "1", "number_of_replicas": "0"}
LEVELS = ("ok", "warning", "fault")

words = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def asked(bundle):
    """The index `shop`, examined for the bundle that ships."""
    return DoctorTarget("shop", bundle)


def an_index(mappings=None, **settings):
    """An index as `GET /shop` describes it."""
    return IndexDescription("shop", mappings or {}, {**SETTINGS, **settings})


def mapped(bundle, **vector):
    """Mappings of a shop's index that takes vectors, with more about the vector."""
    mappings = VectorFields().mapping(bundle.dimension)
    mappings["properties"]["title"] = {"type": "text"}
    mappings["properties"]["anthem"]["properties"]["vector"] |= vector
    return mappings


def level(findings):
    """The worst level of some findings."""
    return max((found.level for found in findings), key=LEVELS.index, default="ok")


@given(words.filter(lambda name: not name.startswith("-")), words.filter(lambda name: not name.startswith("-")),
       st.lists(words.filter(lambda name: not name.startswith("-")), min_size=1, max_size=3))  # fmt: skip
def test_a_printed_command_is_one_that_a_shell_takes(bundle, index, name, fields):
    """Whatever index, bundle and fields are called, the command line reads them back as they are."""
    line = DoctorTarget(index, bundle, name, tuple(fields), "http://h:9200").command("ingest", "--beside")
    said = shlex.split(line)
    assert said[:2] == ["anthem", "ingest"]
    context = ingest.make_context("ingest", said[2:])
    found = [context.params[key] for key in ("index", "bundle", "fields", "beside", "url")]
    assert found == [index, name, tuple(fields), True, "http://h:9200"]


def test_what_is_not_told_is_a_warning_that_names_the_request(asked):
    """A fact the cluster keeps to itself is neither a fault nor well: a warning says which request it refused."""
    (found,) = judge_fact("disk", UnavailableFact("GET _cat/allocation", "forbidden"), lambda _: pytest.fail("judged"))
    assert (found.level, found.check) == ("warning", "disk")
    assert "forbidden" in found.found
    assert "GET _cat/allocation" in found.wanted
    refused = cluster_checks.ClusterFacts({"version": {"number": "3.6.0", "distribution": "opensearch"}},
                                     *[UnavailableFact("GET x", "no")] * 5)  # fmt: skip
    assert [one.level for one in cluster_checks.check_cluster(asked, refused)] == ["ok", *["warning"] * 5]


@given(st.lists(st.sampled_from(LEVELS)))
def test_the_worst_comes_first(bundle, levels):
    """Text puts faults before warnings before what is well; JSON counts them, and is healthy without a fault."""
    asked = DoctorTarget("shop", bundle)
    findings = [Finding("disk", one, f"found {number}") for number, one in enumerate(levels)]
    counted = findings_to_json(asked, findings)
    assert (counted["faults"], counted["warnings"]) == (levels.count("fault"), levels.count("warning"))
    assert counted["healthy"] == ("fault" not in levels)
    assert json.loads(json.dumps(counted)) == counted
    shown = [line.split()[0] for line in findings_to_text(asked, findings).splitlines()[1:]]
    assert shown == sorted(levels, key=LEVELS.index, reverse=True)


def test_every_check_is_explained():
    """docs/doctor.md has a row for each check that the sources name, and for no other."""
    sources = "".join(path.read_text() for path in (ROOT / "evaluation" / "anthem_evaluation").glob("doctor*.py"))
    named = set(re.findall(r'(?:Finding|told)\(\s*"([\w -]+)"', sources))
    modes = {f"search {mode}" for mode in ("cluster", "client", "filter", "retrieve")}
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(named) > 15
    assert sorted(rows) == sorted(named | modes)


@pytest.mark.parametrize(
    ("number", "distribution", "wanted"),
    [("3.6.0", "opensearch", "ok"), ("2.19.0", "opensearch", "ok"), ("2.18.9", "opensearch", "fault"),
     ("8.1.0", None, "fault"), ("x", "opensearch", "fault")],
)  # fmt: skip
def test_versions(number, distribution, wanted):
    """OpenSearch from 2.19 on is supported, and nothing else."""
    info = {"version": {"number": number} | ({"distribution": distribution} if distribution else {})}
    assert level(cluster_checks.check_version(info)) == wanted


def test_every_data_node_needs_the_plugin():
    """One node with data and without k-NN is a fault that names it and its version; one without data is none."""
    knn = [{"name": cluster_checks.KNN_PLUGIN}]
    nodes = {"1": {"name": "a", "roles": ["data"], "plugins": knn}, "2": {"name": "b", "roles": ["ingest"]}}
    assert level(cluster_checks.check_knn_plugin(nodes)) == "ok"
    nodes["3"] = {"name": "c", "roles": ["data_hot"], "plugins": [], "version": "3.6.0"}
    (found,) = cluster_checks.check_knn_plugin(nodes)
    assert (found.level, found.found) == ("fault", "missing on c")
    assert "opensearch-knn:3.6.0.0" in found.command
    assert cluster_checks.missing_plugins(nodes, "rerank") == ["opensearch-ml", "opensearch-neural-search"]
    assert cluster_checks.missing_plugins(UnavailableFact("", ""), "rerank") == []


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [({}, "ok"), ({"script.allowed_types": [], "script.allowed_contexts": []}, "ok"),
     ({"script.allowed_types": ["both"], "script.allowed_contexts": ["update", "score"]}, "ok"),
     ({"script.allowed_types": "stored,inline"}, "ok"), ({"script.allowed_types": ["inline"]}, "warning"),
     ({"script.allowed_types": "none"}, "warning"), ({"script.allowed_contexts": ["update"]}, "warning")],
)  # fmt: skip
def test_scripts_that_may_not_score(asked, settings, wanted):
    """Stored scripts in the context `score` are needed; where they are barred, the client is the way out."""
    (found,) = cluster_checks.check_script_settings(asked, settings)
    assert found.level == wanted
    assert ("--rerank client" in found.command) == (wanted == "warning")


def test_the_script_is_ours_to_the_letter(asked):
    """A script that is missing is a warning, one letter more a fault, our own is well."""
    ours = build_put_script_body()["script"]
    stored = [None, ours, ours | {"source": ours["source"] + " "}, ours | {"lang": "expression"}]
    assert [level(cluster_checks.check_stored_script(asked, one)) for one in stored] == [
        "warning",
        "ok",
        "fault",
        "fault",
    ]


@pytest.mark.parametrize(("met", "wanted"), [(0, "ok"), (3, "warning")])
def test_the_limit_of_compilations(met, wanted):
    """A limit that was met on any node is a warning with the call that widens it."""
    nodes = {"1": {"script": {}}, "2": {"script": {"compilation_limit_triggered": met, "cache_evictions": 1}}}
    (found,) = cluster_checks.check_compilations(nodes, {})
    assert found.level == wanted
    assert found.command.startswith("PUT /_cluster/settings") == bool(met)


@pytest.mark.parametrize(("high", "flood"), [("90%", "95%"), ("0.9", "0.95"), ("10gb", "5gb")])
@given(used=st.lists(st.integers(0, 100), min_size=1, max_size=3))
def test_the_fullest_disk_decides(high, flood, used):
    """Beyond the flood stage is a fault, beyond the high watermark a warning, however the watermarks are written."""
    names = {"high": high, "flood_stage": flood}
    settings = {f"cluster.routing.allocation.disk.watermark.{name}": value for name, value in names.items()}
    disks = [{"node": "a", "disk.percent": str(part), "disk.avail": str((100 - part) << 30)} for part in used]
    wanted = "fault" if max(used) > 95 else "warning" if max(used) > 90 else "ok"
    assert level(cluster_checks.check_disks([*disks, {"node": "UNASSIGNED", "disk.percent": None}], settings)) == wanted
    assert level(cluster_checks.check_disks(disks, {})) == "ok", "unknown watermarks accuse nobody"


def test_an_index_that_is_well(asked, bundle):
    """An index as ingest makes it has not one finding that is not ok, strict mapping and all."""
    index = an_index(mapped(bundle) | {"dynamic": "strict"})
    examined = index_checks.IndexFacts(index, {"status": "yellow"}, {"count": 9, "deleted": 1})
    findings = index_checks.check_index(asked, examined, VectorFields())
    assert [found for found in findings if found.level != "ok" or found.wanted or found.command] == []
    assert "strict" in next(found.found for found in findings if found.check == "mapping")


def test_a_closed_index_is_only_closed(asked):
    """Of a closed index nothing is said but that."""
    index = an_index(verified_before_close="true")
    (found,) = index_checks.check_index(asked, index_checks.IndexFacts(index, {}, {}), VectorFields())
    assert (found.level, found.command) == ("fault", "POST /shop/_open")


@pytest.mark.parametrize(
    ("vector", "mends"),
    [({}, None), ({"type": "float"}, "PUT /shop-anew"), ({"dimension": 3}, "--beside"), (None, "anthem ingest shop")],
)
def test_mappings(asked, bundle, vector, mends):
    """A wrong type needs a new index, a wrong dimension an object beside, a missing field a run of ingest."""
    mappings = mapped(bundle, **(vector or {}))
    if vector is None:
        del mappings["properties"]["anthem"]["properties"]["model"]
    (found,) = index_checks.check_mapping(asked, an_index(mappings), VectorFields())
    assert found.level == ("fault" if mends else "ok")
    assert (mends or "") in found.command


@pytest.mark.parametrize(
    ("vector", "knn", "wanted"),
    [({}, "false", "ok"), ({"method": HNSW_METHOD}, "true", "ok"), ({}, "true", "warning"),
     ({"method": HNSW_METHOD | {"engine": "faiss"}}, "true", "warning"), ({"mode": "on_disk"}, "true", "warning"),
     ({"method": HNSW_METHOD | {"space_type": "cosinesimil"}}, "true", "fault"),
     ({"method": HNSW_METHOD, "data_type": "byte"}, "true", "fault")],
)  # fmt: skip
def test_engines_that_change_vectors(asked, bundle, vector, knn, wanted):
    """Cosine and bytes lose the length of a point, Faiss, which is also the default, needs libraries."""
    assert (
        level(index_checks.check_engine(asked, an_index(mapped(bundle, **vector), knn=knn), VectorFields())) == wanted
    )


@pytest.mark.parametrize(
    ("source", "wanted"),
    [({}, "ok"), ({"enabled": True}, "ok"), ({"enabled": False}, "fault"), ({"excludes": ["anthem"]}, "fault"),
     ({"excludes": ["anthem.vec*"]}, "fault"), ({"excludes": ["text"]}, "warning"), ({"includes": ["title"]}, "fault"),
     ({"includes": ["*"]}, "warning")],
)  # fmt: skip
def test_a_source_that_loses_the_vector(asked, source, wanted):
    """Where `_source` leaves the vector out the next partial update loses it; where it leaves out more, that goes."""
    assert level(index_checks.check_source_kept(asked, an_index({"_source": source}), VectorFields())) == wanted


@pytest.mark.parametrize(
    ("blocks", "wanted"), [({}, "ok"), ({"read_only": "false"}, "ok"), ({"write": "true"}, "warning"),
                           ({"read_only_allow_delete": "true"}, "fault"), ({"read": "true"}, "fault")],
)  # fmt: skip
def test_blocks(blocks, wanted):
    """A block on reading, and that of a full disk, is a fault; the command takes away just the blocks there are."""
    (found,) = index_checks.check_blocks(an_index(blocks=blocks))
    assert found.level == wanted
    if wanted != "ok":
        sent = json.loads(found.command.partition(" /shop/_settings ")[2])
        assert sent == {f"index.blocks.{name}": None for name in blocks}


def test_fields_that_no_product_has(asked, bundle):
    """A field that the mapping does not know is a fault that names those it knows."""
    assert level(index_checks.check_fields(asked, an_index(mapped(bundle)))) == "ok"
    (found,) = index_checks.check_fields(replace(asked, fields=("title", "name")), an_index(mapped(bundle)))
    assert (found.level, "no field name" in found.found, "title" in found.found) == ("fault", True, True)


def test_an_old_index_takes_no_vectors(asked):
    """An index from before 2.17 is a fault, unless it was made for vectors."""
    old = {"version": {"created": str(2160099 ^ 0x08000000)}}
    assert level(index_checks.check_created_version(asked, an_index(**old))) == "fault"
    assert level(index_checks.check_created_version(asked, an_index(**old, knn="true"))) == "ok"


def test_aliases_that_name_another_model(asked, bundle):
    """`anthem_current` on another model's vectors is a warning; without it nothing is said."""
    mine, path = fields_of_model(bundle.model), {"type": "alias", "path": "anthem.vector"}
    index = an_index({"properties": {"anthem_current": {"properties": {"vector": path}}}})
    assert level(index_checks.check_aliases(asked, index, VectorFields())) == "ok"
    (found,) = index_checks.check_aliases(asked, index, mine)
    assert (found.level, "--beside" in found.command) == ("warning", True)
    assert list(index_checks.check_aliases(asked, an_index(), mine)) == []


def test_copies_are_told():
    """Several shards and copies are no fault, and what they mean for ranking and pages is said where there are any."""
    (one,) = index_checks.describe_shards(an_index())
    (many,) = index_checks.describe_shards(an_index(number_of_shards="3", number_of_replicas="2"))
    assert one.level == many.level == "ok"
    assert "preference" not in one.found
    assert "100 × 3" in many.found
    assert "preference" in many.found


@given(st.integers(0, 99), st.integers(0, 99))
def test_deleted_documents(count, gone):
    """More than one document in ten that is deleted is a warning; an empty index is well."""
    (found,) = index_checks.check_deleted(an_index(), {"count": count, "deleted": gone})
    assert (found.level == "warning") == (10 * gone > count + gone)
