"""What `anthem doctor` says of the user's own fields, recorded text fields, closed indices and rollovers."""

import json

import pytest
from click.testing import CliRunner

from anthem_core.opensearch.schema import ModelFields, build_ingest_record
from anthem_doctor.checks.coverage import check_coverage, check_fields_filled
from anthem_doctor.checks.index import check_fields_mapped, check_mapping, check_source_kept
from anthem_doctor.checks.template import check_template, next_index_name
from anthem_doctor.cli import doctor
from anthem_doctor.examination import describe_resolved_name, without_vain_ingest
from anthem_doctor.facts import ValueCounts
from anthem_doctor.findings import DoctorTarget
from anthem_ingest.cli import ingest, remove
from anthem_ingest.mapping import IndexDescription
from anthem_plugin.cli import search

FIELDS, TEXT = ModelFields(), {"type": "text"}
SETTINGS = {"version": {"created": "137277827"}}  # OpenSearch 3.6.0
DYNAMIC = {"properties": {"vector": {"type": "float"}, "trigrams": TEXT, "model": TEXT, "text_hash": TEXT}}


@pytest.fixture
def target(bundle):
    """The index that is examined, with the shipped bundle."""
    return DoctorTarget("products", bundle)


def describe(properties, aliases=None, **mappings):
    """An index as the cluster describes it."""
    return IndexDescription("products", {"properties": properties, **mappings}, SETTINGS, aliases or {})


@pytest.mark.parametrize(
    "field", [TEXT, {"properties": {"composer": TEXT}}, {"properties": {"vector": {"type": "keyword"}, "model": TEXT}}]
)
def test_a_field_of_the_users_is_no_fault_of_ours(target, field):
    """The cure of a field of the user's that is named `anthem` is another name, not a copy without it."""
    (finding,) = check_mapping(target, describe({"anthem": field}), FIELDS)
    assert finding.level == "fault"
    assert "field anthem of its own" in finding.found
    assert finding.command == "anthem ingest products --as anthem_values --bundle general"


def test_a_reindex_drops_only_the_values(target):
    """The printed copy leaves out the objects of models, and no field of the user's with a similar name."""
    mine = {
        "anthem_singer": TEXT,
        "anthem_89abcdef": {"properties": {"vector": {"type": "keyword"}}},
        "anthems": {"properties": {"year": {"type": "long"}}},
        "anthem_01234567": TEXT,
    }
    (finding,) = check_mapping(target, describe({"anthem": DYNAMIC, **mine}), FIELDS)
    copy = json.loads(finding.command.splitlines()[1].partition(" /_reindex?wait_for_completion=false ")[2])
    assert copy["source"]["_source"] == {"excludes": ["anthem"]}


def test_a_reindex_keeps_the_chosen_name(target, bundle):
    """The printed commands name the object that was chosen with `--as`, and the recorded text fields."""
    record = build_ingest_record(bundle.model_id, ["name"], ["containment", "attention"], {})
    index = describe({"anthem": TEXT, "values": DYNAMIC}, _meta={"anthem": {"values": record}})
    known = target.for_ingested(index, ModelFields("values"))
    (finding,) = check_mapping(known, index, ModelFields("values"))
    *_, command = finding.command.splitlines()
    assert command == "anthem ingest products-new --as values --bundle general --field name"
    assert '"excludes": ["values"]' in finding.command


def test_cures_name_the_fields_of_each_index(target, bundle):
    """Each index of a pattern has its own recorded text fields; those that the user names take precedence."""
    fields = ["brand", "name"]
    record = {"_meta": {"anthem": {"anthem": build_ingest_record(bundle.model_id, fields, ["attention"], {})}}}
    index = describe({"name": TEXT, "brand": TEXT}, **record)
    assert target.for_ingested(index, FIELDS).text_fields == ("brand", "name")
    assert "--field brand --field name" in target.for_ingested(index, FIELDS).command("ingest")
    assert target.for_ingested(describe({}), FIELDS).text_fields == ("title",)
    named = DoctorTarget("products", bundle, text_fields=("name",), has_named_fields=True)
    assert named.for_ingested(index, FIELDS).text_fields == ("name",)


@pytest.mark.parametrize(
    ("sources", "level"),
    [
        ([{"name": "shoe"}, {"title": {"en": "shoe"}}], "fault"),
        ([{"name": "shoe"}, {"title": "shoe"}], None),
        ([], None),
    ],
)
def test_a_text_field_without_any_text_is_found(target, sources, level):
    """If no product of a sample has text in any field, it is a fault; if only one field has none, a warning."""
    sample = [{"_source": source} for source in sources]
    assert [finding.level for finding in check_fields_filled(target, "products", sample)] == [level] * bool(level)
    two = DoctorTarget("products", target.bundle, text_fields=("name", "subtitle"))
    findings = check_fields_filled(two, "products", sample)
    assert [(finding.level, finding.found.endswith("subtitle")) for finding in findings] == [("warning", True)] * bool(
        sample
    )


def test_objects_and_lost_sources_are_faults(target):
    """An object is no text field, and an index without `_source` needs a new one."""
    titles = {"title": {"properties": {"en": TEXT, "de": TEXT}}}
    (finding,) = check_fields_mapped(target, describe(titles))
    assert finding.level == "fault"
    assert "title.en, title.de" in finding.found
    (finding,) = check_source_kept(target, describe({}, _source={"enabled": False}), FIELDS)
    assert (finding.level, "keeps no _source" in finding.found) == ("fault", True)
    assert finding.command.startswith("anthem ingest products-new --corpus FILE")


def test_fields_of_an_empty_index(target):
    """Its first products bring the text fields, which is ok; the model's fields are a warning, not a fault."""
    index = describe({})
    (fields,) = check_fields_mapped(target, index, is_empty=True)
    (mapping,) = check_mapping(target, index, FIELDS, is_empty=True)
    assert (fields.level, mapping.level) == ("ok", "warning")
    assert all("no products yet" in finding.found for finding in (fields, mapping))
    with_products = [*check_fields_mapped(target, index), *check_mapping(target, index, FIELDS)]
    assert [finding.level for finding in with_products] == ["fault", "fault"]


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        (TEXT, None),
        ({"type": "keyword", "fields": {"words": TEXT}}, None),
        ({"type": "keyword"}, "of type keyword, in which searches find whole values only"),
        ({"type": "wildcard"}, "of type wildcard"),
        ({"type": "long"}, "of type long"),
        (TEXT | {"index": False}, "index: false"),
    ],
)
def test_a_title_that_no_search_by_words_finds_is_a_fault(target, title, reason):
    """A first field that is not full text is named with its type and a remedy, whatever the other fields are."""
    (finding,) = check_fields_mapped(target, describe({"title": title, "name": TEXT}))
    assert finding.level == ("fault" if reason else "ok")
    assert (reason or "has title") in finding.found
    assert ("map it as text in a new index" in finding.expected) == bool(reason)


def test_a_nested_title_is_a_fault(target):
    """No search finds a product by a nested field, unless that is indexed in the product as well."""
    nested = {"type": "nested", "properties": {"title": TEXT}}
    named = DoctorTarget("products", target.bundle, text_fields=("variants.title",))
    for option, level in (({}, "fault"), ({"include_in_root": True}, "ok")):
        (finding,) = check_fields_mapped(named, describe({"variants": nested | option}))
        assert finding.level == level


@pytest.mark.parametrize("source", [{"enabled": False}, {"excludes": ["price"]}, {}])
def test_no_vain_ingest_is_advised(target, source):
    """Where ingest refuses because `_source` is not whole, no finding prints its command for that index."""
    index = describe({}, _source=source)
    findings = [
        *check_mapping(target, index, FIELDS),
        *check_coverage(target, "products", ValueCounts(3, 0, 0), []),
        *check_source_kept(target, index, FIELDS),
    ]
    advised = {finding.check: finding.command for finding in without_vain_ingest(index, findings)}
    for check in ("mapping", "coverage"):
        assert advised[check].startswith("anthem ingest products ") == (not source)
    assert not source or advised["source"].startswith("anthem ingest products-new ")


def test_a_derived_source_is_a_fault(target):
    """OpenSearch cannot derive a model's fields: a new index is needed, and ingest of this one is not advised."""
    settings = {**SETTINGS, "derived_source": {"enabled": "true"}}
    index = IndexDescription("products", {"properties": {"title": TEXT}}, settings)
    findings = [*check_source_kept(target, index, FIELDS), *check_mapping(target, index, FIELDS)]
    source, mapping = without_vain_ingest(index, findings)
    assert (source.level, mapping.level) == ("fault", "fault")
    assert "_reindex" in source.command
    assert mapping.command == ""


def test_the_write_index_is_named(target):
    """Of several indices behind an alias, the one that ingest writes to is named."""
    indices = {
        name: IndexDescription(name, {}, {}, {"products": {"is_write_index": True} if name == "b" else {}})
        for name in ("a", "b")
    }
    (finding,) = describe_resolved_name(target, indices)
    assert "ingest go to b" in finding.found
    (finding,) = describe_resolved_name(target, {"a": indices["a"], "c": indices["a"]})
    assert "ingest takes one at a time" in finding.found


@pytest.mark.parametrize(
    ("name", "is_written", "expected"),
    [
        ("products-000009", True, "products-000010"),
        ("products-2026.11.28-1", True, "products-2026.11.28-000002"),
        ("products-000001", False, None),
        ("products", True, None),
    ],
)
def test_the_next_index_is_that_of_a_rollover(name, is_written, expected):
    """A write index that ends in a number has a successor; OpenSearch writes its number with six digits."""
    index = IndexDescription(name, {}, {}, {"products": {"is_write_index": is_written}})
    assert next_index_name(index) == expected


def test_a_successor_without_the_fields_is_a_warning(target, bundle):
    """A template without the fields, or with wrong ones, is a warning with the command that prints the right one."""
    fields = FIELDS.mapping(bundle.dimension)
    for mappings, level in (({}, "warning"), ({"properties": {"anthem": DYNAMIC}}, "warning"), (fields, "ok")):
        simulated = {"template": {"mappings": mappings}} if mappings else {}
        (finding,) = check_template(target, describe({}), "products-000002", simulated, FIELDS)
        assert finding.level == level
        assert ("anthem ingest products --template" in finding.command) == (level == "warning")


@pytest.mark.node
def test_every_command_says_that_an_index_is_closed(client, cluster, index, tmp_path):
    """Ingest, remove, search and doctor say that the index is closed and how to open it."""
    client.indices.create(index=index, body={"mappings": {"properties": {"title": TEXT}}})
    client.indices.close(index=index)
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "1", "title": "shoe"}')
    shared = ["--url", cluster]
    history = ["--history", str(tmp_path / "history")]
    for command, arguments in (
        (ingest, []), (ingest, ["--corpus", str(file)]), (remove, ["--yes"]), (search, ["shoe"]), (doctor, history),
    ):  # fmt: skip
        result = CliRunner().invoke(command, [index, *arguments, *shared])
        assert result.exit_code == (1 if command is doctor else 6), result.output
        assert "closed" in result.output
        assert "_open" in result.output


@pytest.mark.node
def test_the_next_rollover_is_examined(client, cluster, index, tmp_path):
    """Before the template is stored, doctor warns of the next rollover; its command prints the cure."""
    name, first = index, f"{index}-000001"
    aliases = {name: {"is_write_index": True}}
    client.indices.create(index=first, body={"mappings": {"properties": {"title": TEXT}}, "aliases": aliases})
    client.index(index=first, id="1", body={"title": "red shoe"}, params={"refresh": "true"})
    assert CliRunner().invoke(ingest, [name, "--url", cluster]).exit_code == 0
    arguments = [name, "--url", cluster, "--json", "--history", str(tmp_path / "history")]
    findings = json.loads(CliRunner().invoke(doctor, arguments).stdout)["findings"]
    (finding,) = [finding for finding in findings if finding["check"] == "template"]
    assert finding["level"] == "warning"
    assert f"{index}-000002" in finding["found"]
    assert f"anthem ingest {first} --template" in finding["command"]


@pytest.mark.node
def test_each_index_is_examined_by_its_own_object(client, cluster, index, tmp_path):
    """Of several indices, one with its values in a chosen object has the findings that it has by itself."""
    shop, shared = f"{index}-shop", ["--url", cluster]
    users = {"title": TEXT, "anthem": {"type": "keyword"}}
    for name, properties in ((index, users), (shop, {"title": TEXT})):
        client.indices.create(index=name, body={"mappings": {"properties": properties}})
        for number, title in enumerate(("red shoe", "blue bag", "red bag")):
            client.index(index=name, id=str(number), body={"title": title}, params={"refresh": "true"})
    try:
        assert CliRunner().invoke(ingest, [index, "--as", "my_vals", *shared]).exit_code == 0
        assert CliRunner().invoke(ingest, [shop, *shared]).exit_code == 0
        arguments = [*shared, "--json", "--history", str(tmp_path / "history")]
        for names in (f"{shop},{index}", f"{index},{shop}"):
            findings = json.loads(CliRunner().invoke(doctor, [names, *arguments]).stdout)["findings"]
            of_indices = [finding for finding in findings if finding["check"] in ("mapping", "coverage")]
            assert {finding["level"] for finding in of_indices} == {"ok"}, of_indices
            assert not any("of its own" in finding["found"] for finding in findings)
    finally:
        client.indices.delete(index=shop)
