"""Commands against a secured cluster, through a TLS proxy in front of a real node: sign-in, TLS, and refusals."""

import logging
import re

import pytest
import secured_proxy
from secured_proxy import (
    SECRET,
    TITLES,
    command_result,
    require_header,
    require_password,
    require_signature,
    run_command,
    secured,
)

from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.permissions import PERMISSIONS
from anthem_plugin.scoring.painless import script_id

pytestmark = pytest.mark.node

authority, products, settings, shop = (
    secured_proxy.authority, secured_proxy.products, secured_proxy.settings, secured_proxy.shop,
)  # fmt: skip

BASIC_AUTH = {"OPENSEARCH_USER": "shop", "OPENSEARCH_PASSWORD": SECRET}
API_KEY = {"OPENSEARCH_API_KEY": "os_" + SECRET.encode().hex()}
AWS = {"OPENSEARCH_AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": SECRET}
# By method: the settings, and what the proxy requires.
AUTH_METHODS = {
    "user and password": (BASIC_AUTH, require_password("shop", SECRET)),
    "API key": (API_KEY, require_header(f"ApiKey {API_KEY['OPENSEARCH_API_KEY']}")),
    "AWS": (AWS, require_signature("AKID", SECRET, "eu-central-1", "es")),
}


@pytest.mark.parametrize("method", ["API key", "AWS"])
def test_commands_sign_in(cluster, authority, settings, products, method):
    """With a key or a signature, products are ingested, found and reranked, and their vectors are removed again."""
    variables, authenticate = AUTH_METHODS[method]
    with secured(cluster, authority, authenticate=authenticate) as proxy:
        settings(proxy.url, **variables)
        assert command_result("ingest", products)["written"] == len(TITLES)
        assert command_result("search", products, "fire tv")["reranked"]
        assert command_result("remove", products, "--yes")["written"] == len(TITLES)


def test_a_password_in_the_address_signs_in(cluster, authority, settings, products):
    """User and password in an address, as hosted clusters provide it, are used but never shown."""
    with secured(cluster, authority, authenticate=require_password("shop", "p@ss")) as proxy:
        settings(proxy.url.replace("://", "://shop:p%40ss@"))
        assert command_result("search", products, "fire tv", "--rerank", "none")["hits"]
        with connect() as client:
            assert "p@ss" not in repr(client)


def test_a_client_certificate_signs_in(cluster, authority, settings, products, tmp_path):
    """If the cluster requires a client certificate, it is sent; without one, the message names the setting."""
    authority.issue_cert("shop@example.org").private_key_and_cert_chain_pem.write_to_path(tmp_path / "shop.pem")
    with secured(cluster, authority, client_certificates=True) as proxy:
        settings(proxy.url, OPENSEARCH_CERT="shop.pem")
        assert command_result("search", products, "fire tv", "--rerank", "none")["hits"]
        settings(proxy.url)
        refused = run_command("search", products, "fire tv")
    assert refused.exit_code == 6
    assert "set OPENSEARCH_CERT and OPENSEARCH_KEY" in refused.stderr


# By mistake: the method that the proxy requires, the settings, and the message.
WRONG_CREDENTIALS = {
    "no sign-in": ("user and password", {}, "No user, key or signature was sent: set OPENSEARCH_USER"),
    "wrong password": (
        "user and password", {"OPENSEARCH_USER": "shop", "OPENSEARCH_PASSWORD": SECRET + "!"},
        r"\(401\)\. Tried: user 'shop'\. Check OPENSEARCH_USER and OPENSEARCH_PASSWORD"),
    "wrong key": (
        "API key", {"OPENSEARCH_API_KEY": SECRET.encode().hex()},
        r"\(401\)\. Tried: an API key\. Check OPENSEARCH_API_KEY"),
    "wrong secret": (
        "AWS", AWS | {"AWS_SECRET_ACCESS_KEY": SECRET + "!"},
        r"\(403\): The request signature .* Tried: AWS SigV4 \(es in eu-central-1\)\. Check the AWS credentials"),
    "wrong region": (
        "AWS", AWS | {"OPENSEARCH_AWS_REGION": "eu-west-1"},
        r"\(403\): The request signature .* Tried: AWS SigV4 \(es in eu-west-1\)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG_CREDENTIALS)
def test_a_refused_sign_in_is_explained(cluster, authority, settings, caplog, mistake):
    """The message says who signed in and which settings to check; neither it nor any log contains a secret."""
    method, variables, message = WRONG_CREDENTIALS[mistake]
    authenticate = AUTH_METHODS[method][1]
    with caplog.at_level(logging.DEBUG), secured(cluster, authority, authenticate=authenticate) as proxy:
        settings(proxy.url, **variables)
        refused = run_command("search", "products", "fire tv")
        with connect() as client:
            assert SECRET not in repr(client) + repr(client.transport.kwargs)
    assert refused.exit_code == 6
    assert re.search(message, refused.stderr)
    for secret in (SECRET, SECRET.encode().hex()):
        assert secret not in refused.output + caplog.text


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("127.0.0.1", {"OPENSEARCH_CA": None}, r"certificate is from an unknown CA: set OPENSEARCH_CA"),
        ("shop.example", {}, r"certificate is for another name"),
        ("127.0.0.1", {"url": ("https", "http"), "OPENSEARCH_CA": None}, r"write the address with https://"),
    ],
)
def test_a_tls_failure_is_explained(cluster, authority, settings, name, changes, message):
    """An unknown CA, a certificate for another name and plain HTTP have different messages; no request gets through."""
    changes = dict(changes)
    with secured(cluster, authority, name=name) as proxy:
        settings(proxy.url.replace(*changes.pop("url", ("", ""))), **changes)
        refused = run_command("search", "products", "fire tv")
    assert refused.exit_code == 6
    assert re.search(message, refused.stderr)
    assert proxy.received == []


def test_https_to_a_plain_port_is_explained(cluster, settings):
    """A cluster that does not speak TLS has another message than one that does not answer."""
    settings(cluster.replace("http://", "https://"))
    refused = run_command("search", "products", "fire tv")
    assert refused.exit_code == 6
    assert "does not speak TLS" in refused.stderr


def test_search_falls_back_to_client_mode_without_scripts(cluster, authority, settings, shop):
    """If the cluster forbids storing scripts, searches rank in client mode with the same result, and say why."""
    shop.ingest()
    shop.client.delete_script(id=script_id(), ignore=404)
    with secured(cluster, authority, forbidden=("PUT /_scripts",)) as proxy:
        settings(proxy.url)
        result = command_result("search", shop.index, "fire tv")
        expected = command_result("search", shop.index, "fire tv", "--rerank", "client")
    assert (result["mode"], result["reranked"]) == ("client", True)
    assert {hit["title"] for hit in result["hits"]} == {"fire tv stick", "fire pit", "tv stand"}
    assert result["hits"] == expected["hits"]
    assert "does not accept the script (no permissions for [cluster:admin/script/put]" in result["reason"]
    assert "PUT /_scripts" in proxy.received


def test_remove_works_without_script_permissions(cluster, authority, settings, shop):
    """Without the permissions for scripts, `remove` still removes the vectors, and reports what it left."""
    shop.ingest()
    with secured(cluster, authority, forbidden=("GET /_cluster/state",)) as proxy:
        settings(proxy.url)
        removed = command_result("remove", shop.index, "--yes")
    assert removed["written"] == len(TITLES)
    assert "forbids" in removed["users"]


@pytest.mark.parametrize("forbidden", ["PUT /INDEX/_mapping", "POST /INDEX/_count", "POST /INDEX/_bulk"])
def test_a_missing_permission_is_named(cluster, authority, settings, products, forbidden):
    """If the cluster forbids a request, the command ends with the permission that it needs."""
    with secured(cluster, authority, forbidden=(forbidden,)) as proxy:
        settings(proxy.url)
        refused = run_command("ingest", products)
    assert refused.exit_code == 6
    assert "forbids this (403): no permissions for" in refused.stderr
    assert f"needs {', '.join(PERMISSIONS[forbidden])}; docs/permissions.md" in refused.stderr
