"""`anthem doctor` without a permission: it says what it could not check, and asks for permissions only then."""

import json

import pytest
import secured_proxy
from secured_proxy import run_command, secured

pytestmark = pytest.mark.node

authority, products, settings, shop = (
    secured_proxy.authority, secured_proxy.products, secured_proxy.settings, secured_proxy.shop,
)  # fmt: skip


@pytest.mark.parametrize(
    ("forbidden", "checks"),
    [("GET /_cluster/settings", {"blocks", "scripts"}), ("GET /_cat/allocation", {"disk"}),
     ("POST /INDEX/_search", {"coverage", "text", "points", "trigrams", "search"})],
)  # fmt: skip
def test_a_check_without_permission_is_unknown(cluster, authority, settings, shop, tmp_path, forbidden, checks):
    """Each check that lacks a permission is a warning that names the request, and no check claims what it needs."""
    shop.ingest()
    with secured(cluster, authority, forbidden=(forbidden,)) as proxy:
        settings(proxy.url)
        result = run_command("doctor", shop.index, "--history", str(tmp_path / "history.jsonl"), "--json")
    findings = json.loads(result.stdout)["findings"]
    asked = [finding for finding in findings if "permission to send" in finding["wanted"]]
    assert {finding["check"] for finding in asked} == checks
    assert {finding["level"] for finding in asked} == {"warning"}
    assert not [finding for finding in findings if "can be written" in finding["found"]]
