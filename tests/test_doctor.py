"""Checks of `anthem doctor` on given facts, without a cluster; tests/test_doctor_node.py tests them on a real node."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.opensearch.schema import (
    MODEL_SIGNALS,
    ModelFields,
    build_ingest_record,
    fields_of_model,
    with_ingest_meta,
)
from anthem_doctor.checks import cluster as cluster_checks
from anthem_doctor.checks import index as index_checks
from anthem_doctor.checks.limits import check_limits
from anthem_doctor.facts import ClusterFacts, IndexFacts, UnavailableFact
from anthem_doctor.findings import DoctorTarget, Finding, findings_to_json, findings_to_text, judge_fact
from anthem_ingest.cli import ingest
from anthem_ingest.mapping import HNSW_METHOD, IndexDescription
from anthem_plugin.scoring.painless import build_put_script_body

ROOT = Path(__file__).parents[1]
SETTINGS = {"version": {"created": str(3060099 ^ 0x08000000)}, "number_of_shards": "1", "number_of_replicas": "0"}
LEVELS = ("ok", "warning", "fault")

words = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=12)
arguments = words.filter(lambda word: not word.startswith("-"))


@pytest.fixture(scope="module")
def target(bundle):
    """The index `products`, examined for the bundle `general`."""
    return DoctorTarget("products", bundle)


def describe_index(mappings=None, **settings):
    """An index as `GET /products` describes it."""
    return IndexDescription("products", mappings or {}, {**SETTINGS, **settings})


def mappings_with_values(bundle, signals=MODEL_SIGNALS, **vector):
    """Mappings of an index with the values of these signals, with additional settings of the vector field."""
    mappings = ModelFields().mapping(bundle.dimension, signals)
    mappings["properties"]["title"] = {"type": "text"}
    if vector:
        mappings["properties"]["anthem"]["properties"]["vector"] |= vector
    return mappings


def meta_of(bundle, signals):
    """`_meta` as an ingest of these signals records it."""
    return {"_meta": with_ingest_meta({}, "anthem", build_ingest_record(bundle.model_id, ["title"], signals, {}))}


def worst_level(findings):
    """The worst level of some findings."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")


@given(arguments, arguments, st.lists(arguments, min_size=1, max_size=3))
def test_printed_commands_are_quoted_for_a_shell(bundle, index, bundle_name, fields):
    """Whatever the names of index, bundle and fields, the command line reads them back unchanged, each field once."""
    line = DoctorTarget(index, bundle, bundle_name, tuple(fields), "http://h:9200").command("ingest", "--beside")
    command = shlex.split(line)
    assert command[:2] == ["anthem", "ingest"]
    context = ingest.make_context("ingest", command[2:])
    values = [context.params[key] for key in ("index", "bundle_name", "text_fields", "beside", "url")]
    assert values == [index, bundle_name, tuple(dict.fromkeys(fields)), True, "http://h:9200"]


def test_an_unavailable_fact_is_a_warning_that_names_the_request(target):
    """A fact that the cluster does not give is neither a fault nor ok; the warning names the refused request."""
    fact = UnavailableFact("GET _cat/allocation", "forbidden")
    (finding,) = judge_fact("disk", fact, lambda _: pytest.fail("judged"))
    assert (finding.level, finding.check) == ("warning", "disk")
    assert "forbidden" in finding.found
    assert "GET _cat/allocation" in finding.expected
    info = {"version": {"number": "3.6.0", "distribution": "opensearch"}}
    facts = ClusterFacts(info, *[UnavailableFact("GET x", "no")] * 6)
    findings = cluster_checks.check_cluster(target, facts)
    assert [finding.level for finding in findings] == ["ok", *["warning"] * 6]


@given(st.lists(st.sampled_from(LEVELS)))
def test_text_lists_the_worst_findings_first(bundle, levels):
    """Text lists faults, then warnings, then the rest; JSON counts them and is healthy without a fault."""
    target = DoctorTarget("products", bundle)
    findings = [Finding("disk", level, f"found {number}") for number, level in enumerate(levels)]
    value = findings_to_json(target, findings)
    assert (value["faults"], value["warnings"]) == (levels.count("fault"), levels.count("warning"))
    assert value["healthy"] == ("fault" not in levels)
    assert json.loads(json.dumps(value)) == value
    printed = [line.split()[0] for line in findings_to_text(target, findings).splitlines()[1:]]
    assert printed == sorted(levels, key=LEVELS.index, reverse=True)


def test_the_json_keys_of_a_finding():
    """Programs rely on these keys."""
    finding = Finding("disk", "fault", "full", "free space", "GET /_cat/allocation?v")
    expected = {"check": "disk", "level": "fault", "found": "full", "wanted": "free space"}
    assert finding.to_dict() == expected | {"command": "GET /_cat/allocation?v"}


def test_every_check_is_explained():
    """docs/doctor.md has a row for each check that the sources name, and for no other."""
    sources = "".join(path.read_text() for path in (ROOT / "doctor" / "anthem_doctor").rglob("*.py"))
    names = set(re.findall(r'(?:Finding|judge_fact)\(\s*"([\w -]+)"', sources))
    modes = {f"search {mode}" for mode in ("cluster", "client", "filter", "retrieve")}
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) > 15
    assert sorted(rows) == sorted(names | modes)


@pytest.mark.parametrize(
    ("number", "distribution", "expected"),
    [("3.6.0", "opensearch", "ok"), ("2.19.0", "opensearch", "ok"), ("2.18.9", "opensearch", "fault"),
     ("8.1.0", None, "fault"), ("x", "opensearch", "fault")],
)  # fmt: skip
def test_supported_versions(number, distribution, expected):
    """Only OpenSearch 2.19 or newer is supported; a fault names the version found."""
    info = {"version": {"number": number} | ({"distribution": distribution} if distribution else {})}
    (finding,) = cluster_checks.check_version(info)
    assert finding.level == expected
    assert number in finding.found
    assert ("2.19" in finding.expected) == (expected == "fault")


def test_every_data_node_needs_the_plugin():
    """A data node without k-NN is a fault that names the node and the plugin version; other nodes do not need it."""
    knn = [{"name": cluster_checks.KNN_PLUGIN}]
    nodes = {"1": {"name": "a", "roles": ["data"], "plugins": knn}, "2": {"name": "b", "roles": ["ingest"]}}
    assert worst_level(cluster_checks.check_knn_plugin(nodes)) == "ok"
    nodes["3"] = {"name": "c", "roles": ["data_hot"], "plugins": [], "version": "3.6.0"}
    (finding,) = cluster_checks.check_knn_plugin(nodes)
    assert (finding.level, finding.found) == ("fault", "missing on c")
    assert "opensearch-knn:3.6.0.0" in finding.command
    assert cluster_checks.missing_plugins(nodes, "rerank") == ["opensearch-ml", "opensearch-neural-search"]
    assert cluster_checks.missing_plugins(UnavailableFact("", ""), "rerank") == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, "ok"), ({"script.allowed_types": [], "script.allowed_contexts": []}, "ok"),
     ({"script.allowed_types": ["both"], "script.allowed_contexts": ["update", "score"]}, "ok"),
     ({"script.allowed_types": "stored,inline"}, "ok"), ({"script.allowed_types": ["inline"]}, "fault"),
     ({"script.allowed_types": "none"}, "fault"), ({"script.allowed_contexts": ["update"]}, "fault"),
     ({"search.allow_expensive_queries": "true"}, "ok"), ({"search.allow_expensive_queries": True}, "ok")],
)  # fmt: skip
def test_script_settings(target, settings, expected):
    """Stored scripts in the context `score` are needed; where they are not allowed, client mode is suggested."""
    (finding,) = cluster_checks.check_script_settings(target, settings)
    assert finding.level == expected
    assert ("--rerank client" in finding.command) == (expected == "fault")


def test_expensive_queries_that_are_forbidden(target):
    """The script needs them: a fault with the request that allows them again, beside one of the script settings."""
    for value in ("false", False):
        (finding,) = cluster_checks.check_script_settings(target, {"search.allow_expensive_queries": value})
        assert finding.level == "fault"
        method, path, body = finding.command.split(" ", 2)
        assert (method, path) == ("PUT", "/_cluster/settings")
        assert (
            json.loads(body)["persistent"] == json.loads(body)["transient"] == {"search.allow_expensive_queries": None}
        )
    both = {"search.allow_expensive_queries": "false", "script.allowed_types": "none"}
    levels = [finding.level for finding in cluster_checks.check_script_settings(target, both)]
    assert levels == ["fault", "fault"]


@pytest.mark.parametrize(
    ("settings", "names"),
    [({}, []), ({"max_result_window": "100"}, []),
     ({"max_result_window": "99"}, ["max_result_window", "max_rescore_window"]),
     ({"max_result_window": "5", "max_rescore_window": "500"}, ["max_result_window"]),
     ({"max_rescore_window": 1}, ["max_rescore_window"]), ({"max_docvalue_fields_search": "3"}, []),
     ({"max_docvalue_fields_search": "2"}, ["max_docvalue_fields_search"]),
     ({"max_docvalue_fields_search": 0, "max_rescore_window": 5},
      ["max_rescore_window", "max_docvalue_fields_search"])],
)  # fmt: skip
def test_limits_of_searches(settings, names):
    """Each limit below what searches need is a fault that names the setting, with the request that resets it."""
    findings = list(check_limits(describe_index(**settings)))
    if not names:
        assert [finding.level for finding in findings] == ["ok"]
        return
    assert [finding.level for finding in findings] == ["fault"] * len(names)
    for name, finding in zip(names, findings, strict=True):
        assert f"(index.{name})" in finding.found
        assert finding.command == f'PUT /products/_settings {{"index.{name}": null}}'


def test_the_stored_script_is_compared_exactly(target):
    """A missing script is stored by the first search, so it is ok; a different source or language is a fault."""
    script = build_put_script_body()["script"]
    stored = [None, script, script | {"source": script["source"] + " "}, script | {"lang": "expression"}]
    levels = [worst_level(cluster_checks.check_stored_script(target, script)) for script in stored]
    assert levels == ["ok", "ok", "fault", "fault"]


@pytest.mark.parametrize(("reached", "expected"), [(0, "ok"), (3, "warning")])
def test_the_compilation_limit(reached, expected):
    """A limit that was reached on any node is a warning with the request that raises it."""
    nodes = {"1": {"script": {}}, "2": {"script": {"compilation_limit_triggered": reached, "cache_evictions": 1}}}
    (finding,) = cluster_checks.check_compilations(nodes, {})
    assert finding.level == expected
    assert finding.command.startswith("PUT /_cluster/settings") == bool(reached)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [({"script.max_compilations_rate": "0/5m"}, "script.max_compilations_rate: 0/5m"),
     ({"script.context.score.max_compilations_rate": "0/1m", "script.max_compilations_rate": "use-context"},
      "script.context.score.max_compilations_rate: 0/1m"),
     ({"script.context.score.max_compilations_rate": "0/1m", "script.max_compilations_rate": "75/5m"}, None),
     ({"script.context.score.max_compilations_rate": "75/5m"}, None)],
)  # fmt: skip
def test_a_cluster_that_compiles_no_script(settings, fault):
    """A limit of 0 that applies to the script is a fault; a general limit replaces those by context."""
    (finding,) = cluster_checks.check_compilations({}, settings)
    assert (finding.level, finding.found) == ("fault", fault) if fault else finding.level == "ok"


@pytest.mark.parametrize(("high", "flood"), [("90%", "95%"), ("0.9", "0.95"), ("10gb", "5gb")])
@given(used=st.lists(st.integers(0, 100), min_size=1, max_size=3))
def test_the_fullest_disk_decides(high, flood, used):
    """Above the flood stage is a fault, above the high watermark a warning, in whatever unit watermarks are set."""
    watermarks = {"high": high, "flood_stage": flood}
    settings = {f"cluster.routing.allocation.disk.watermark.{name}": value for name, value in watermarks.items()}
    disks = [{"node": "a", "disk.percent": str(part), "disk.avail": str((100 - part) << 30)} for part in used]
    expected = "fault" if max(used) > 95 else "warning" if max(used) > 90 else "ok"
    unassigned = {"node": "UNASSIGNED", "disk.percent": None}
    assert worst_level(cluster_checks.check_disks([*disks, unassigned], settings)) == expected
    assert worst_level(cluster_checks.check_disks(disks, {})) == "ok", "unknown watermarks are not exceeded"


def test_a_healthy_index(target, bundle):
    """An index as ingest creates it has only ok findings, also with strict mapping."""
    index = describe_index(mappings_with_values(bundle) | {"dynamic": "strict"})
    facts = IndexFacts(index, {"status": "yellow"}, {"count": 9, "deleted": 1})
    findings = index_checks.check_index(target, facts, ModelFields())
    unhealthy = [finding for finding in findings if finding.level != "ok" or finding.expected or finding.command]
    assert unhealthy == []
    assert "strict" in next(finding.found for finding in findings if finding.check == "mapping")


def test_a_closed_index_has_one_finding(target):
    """A closed index is a fault with the request that opens it, and nothing else is checked."""
    index = describe_index(verified_before_close="true")
    (finding,) = index_checks.check_index(target, IndexFacts(index, {}, {}), ModelFields())
    assert (finding.level, finding.command) == ("fault", "POST /products/_open")


@pytest.mark.parametrize(
    ("vector", "command", "found"),
    [({}, None, "dimension"), ({"type": "float"}, "PUT /products-new", "anthem.vector with type float"),
     ({"dimension": 3}, "--beside", "anthem.vector with dimension 3"),
     ({"data_type": "float"}, "--beside", "anthem.vector with data_type float"),
     ({"dimension": 65, "data_type": "FLOAT"}, "--beside", "with dimension 65, data_type float"),
     (None, "anthem ingest products", "{model}")],
)  # fmt: skip
def test_mapping_faults_and_their_fixes(target, bundle, vector, command, found):
    """A wrong type needs a new index, other vectors a second object, a missing field a run of ingest."""
    mappings = mappings_with_values(bundle, **(vector or {}))
    if vector is None:
        del mappings["properties"]["anthem"]["properties"]["model"]
    (finding,) = index_checks.check_mapping(target, describe_index(mappings), ModelFields())
    assert finding.level == ("fault" if command else "ok")
    assert (command or "") in finding.command
    assert found in finding.found


@pytest.mark.parametrize("field", [{"type": "text"}, {"type": "binary"}, {"type": "binary", "doc_values": False}])
def test_trigrams_of_another_type_are_a_fault(target, bundle, field):
    """Trigrams that a script cannot read need a new index, unless ingest was told to leave them out."""
    mappings = mappings_with_values(bundle)
    mappings["properties"]["anthem"]["properties"]["trigrams"] = field
    (finding,) = index_checks.check_mapping(target, describe_index(mappings), ModelFields())
    assert (finding.level, "anthem.trigrams" in finding.found) == ("fault", True)
    assert '"trigrams": {"type": "binary", "doc_values": true}' in finding.command
    vectors_only = replace(target, signals=("containment",))
    assert worst_level(index_checks.check_mapping(vectors_only, describe_index(mappings), ModelFields())) == "ok"
    (signals,) = index_checks.check_signals(target, describe_index(mappings), ModelFields())
    assert "by the lexical score and containment, not by attention" in signals.found


def test_vectors_of_an_earlier_version_are_no_signal(target, bundle):
    """An index whose vectors are floats is ranked by attention alone, which the finding says."""
    mappings = mappings_with_values(bundle, dimension=65, data_type="FLOAT")
    (signals,) = index_checks.check_signals(target, describe_index(mappings), ModelFields())
    assert "by the lexical score and attention, not by containment" in signals.found


@pytest.mark.parametrize("signal", MODEL_SIGNALS)
def test_an_index_with_one_value(target, bundle, signal):
    """One value of two is a warning with the command that adds the other, and no fault if `--signals` left it out."""
    mappings = mappings_with_values(bundle, [signal])
    (other,) = {*MODEL_SIGNALS} - {signal}
    for record, level in (
        ({}, "warning"),
        (meta_of(bundle, MODEL_SIGNALS), "warning"),
        (meta_of(bundle, [signal]), "ok"),
    ):
        index = describe_index(mappings | record)
        expected = target.for_ingested(index, ModelFields())
        (mapping,) = index_checks.check_mapping(expected, index, ModelFields())
        (signals,) = index_checks.check_signals(expected, index, ModelFields())
        assert mapping.level == level
        assert mapping.command == ("anthem ingest products --bundle general" if level == "warning" else "")
        assert f"by the lexical score and {signal}, not by {other}" in signals.found
        assert ("left out with --signals" in signals.found) == (level == "ok")
        assert expected.command("ingest").endswith(f" --signals {signal}") == (level == "ok")


def test_signals_of_a_whole_index(target, bundle):
    """The finding names every signal that searches rank by; an index without values has no such finding."""
    (finding,) = index_checks.check_signals(target, describe_index(mappings_with_values(bundle)), ModelFields())
    assert finding.found == "searches rank products by the lexical score, containment and attention"
    assert list(index_checks.check_signals(target, describe_index(), ModelFields())) == []


@pytest.mark.parametrize(
    ("vector", "knn", "expected"),
    [({}, "false", "ok"), ({"method": HNSW_METHOD}, "true", "ok"), ({}, "true", "warning"),
     ({"method": HNSW_METHOD | {"engine": "faiss"}}, "true", "warning"), ({"mode": "on_disk"}, "true", "warning"),
     ({"method": HNSW_METHOD | {"space_type": "cosinesimil"}}, "true", "fault")],
)  # fmt: skip
def test_engines_that_change_vectors(target, bundle, vector, knn, expected):
    """Cosine loses the length of a point; Faiss, the default, needs native libraries."""
    index = describe_index(mappings_with_values(bundle, **vector), knn=knn)
    assert worst_level(index_checks.check_engine(target, index, ModelFields())) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [({}, "ok"), ({"enabled": True}, "ok"), ({"enabled": False}, "fault"), ({"excludes": ["anthem"]}, "fault"),
     ({"excludes": ["anthem.vec*"]}, "fault"), ({"excludes": ["*.trigrams"]}, "fault"),
     ({"excludes": ["text"]}, "warning"), ({"includes": ["title"]}, "fault"), ({"includes": ["*"]}, "warning")],
)  # fmt: skip
def test_a_source_that_loses_a_value(target, source, expected):
    """It is a fault if `_source` omits a value, and a warning if it omits or may omit other fields."""
    index = describe_index({"_source": source})
    assert worst_level(index_checks.check_source_kept(target, index, ModelFields())) == expected


@pytest.mark.parametrize(
    ("blocks", "expected"), [({}, "ok"), ({"read_only": "false"}, "ok"), ({"write": "true"}, "warning"),
                             ({"read_only_allow_delete": "true"}, "fault"), ({"read": "true"}, "fault")],
)  # fmt: skip
def test_blocks(blocks, expected):
    """A read block and that of a full disk are faults; the request removes exactly the blocks that are set."""
    (finding,) = index_checks.check_blocks(describe_index(blocks=blocks))
    assert finding.level == expected
    if expected != "ok":
        body = json.loads(finding.command.partition(" /products/_settings ")[2])
        assert body == {f"index.blocks.{name}": None for name in blocks}


def test_a_searchable_snapshot_is_read_only():
    """A searchable snapshot, which no setting makes writable, is a warning without a request; its blocks are apart."""
    snapshot = {"store": {"type": "remote_snapshot"}}
    (finding,) = index_checks.check_blocks(describe_index(**snapshot))
    assert (finding.level, finding.command, "searchable snapshot" in finding.found) == ("warning", "", True)
    _, block = index_checks.check_blocks(describe_index(**snapshot, blocks={"read": "true"}))
    assert "index.blocks.read" in block.command


@pytest.mark.parametrize(
    ("persistent", "transient", "scopes"),
    [(None, None, []), ("false", None, []), ("true", None, ["persistent"]), (None, "true", ["transient"]),
     ("true", "true", ["persistent", "transient"]), ("true", "false", []), ("false", "true", ["transient"])],
)  # fmt: skip
def test_blocks_of_the_cluster(persistent, transient, scopes):
    """A transient setting overrides a persistent one, a setting of the nodes has no effect; each set one is removed."""
    block = "cluster.blocks.read_only"
    settings = {"persistent": persistent, "transient": transient, "defaults": "true"}
    layers = {scope: {block: value} for scope, value in settings.items() if value}
    (finding,) = cluster_checks.check_cluster_blocks(layers)
    assert finding.level == ("fault" if scopes else "ok")
    bodies = [json.loads(line.removeprefix("PUT /_cluster/settings ")) for line in finding.command.splitlines()]
    assert bodies == [{scope: {block: None}} for scope in scopes]


def test_unknown_text_fields(target, bundle):
    """A field that is not mapped is a fault that names the mapped fields."""
    index = describe_index(mappings_with_values(bundle))
    assert worst_level(index_checks.check_fields_mapped(target, index)) == "ok"
    (finding,) = index_checks.check_fields_mapped(replace(target, text_fields=("title", "name")), index)
    assert finding.level == "fault"
    assert "no text in name;" in finding.found
    assert "title" in finding.found


def test_an_old_index_accepts_no_vectors(target):
    """An index created before 2.17 is a fault, unless it has index.knn."""
    old = {"version": {"created": str(2160099 ^ 0x08000000)}}
    assert worst_level(index_checks.check_created_version(target, describe_index(**old))) == "fault"
    assert worst_level(index_checks.check_created_version(target, describe_index(**old, knn="true"))) == "ok"
    trigrams_only = replace(target, signals=("attention",))
    assert worst_level(index_checks.check_created_version(trigrams_only, describe_index(**old))) == "ok"


def test_aliases_of_another_model(target, bundle):
    """`anthem_current` with another model's values is a warning; an index without the aliases has no finding."""
    other_fields, path = fields_of_model(bundle.model_id), {"type": "alias", "path": "anthem.vector"}
    index = describe_index({"properties": {"anthem_current": {"properties": {"vector": path}}}})
    assert worst_level(index_checks.check_aliases(target, index, ModelFields())) == "ok"
    (finding,) = index_checks.check_aliases(target, index, other_fields)
    assert (finding.level, "--beside" in finding.command) == ("warning", True)
    assert list(index_checks.check_aliases(target, describe_index(), other_fields)) == []


def test_shards_and_replicas_are_described():
    """Several shards and replicas are no fault; the finding says what they mean for ranking and paging."""
    (single,) = index_checks.describe_shards(describe_index())
    (several,) = index_checks.describe_shards(describe_index(number_of_shards="3", number_of_replicas="2"))
    assert single.level == several.level == "ok"
    assert "preference" not in single.found
    assert "100 × 3" in several.found
    assert "preference" in several.found


@given(st.integers(0, 99), st.integers(0, 99))
def test_deleted_documents(live, deleted):
    """More than an ingest leaves, one per product, is a warning; above a tenth, the finding says what to expect."""
    (finding,) = index_checks.check_deleted(describe_index(), {"count": live, "deleted": deleted})
    assert (finding.level == "warning") == (deleted > live)
    assert ("_forcemerge" in finding.command) == (10 * deleted > live + deleted)
    assert ("as expected after an ingest" in finding.found) == (live + deleted < 10 * deleted <= 10 * live)
