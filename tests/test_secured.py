"""Laws of secured clusters, through a TLS proxy before a real node: signing in, encryption, and refusals."""

import logging
import re

import pytest
import secured_proxy
from secured_proxy import SECRET, TITLES, done, header, password, run, secured, signature

from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.permissions import PERMISSIONS
from anthem_plugin.scoring.painless import script_id

pytestmark = pytest.mark.node

authority, products, settings, shop = (
    secured_proxy.authority, secured_proxy.products, secured_proxy.settings, secured_proxy.shop,
)  # fmt: skip

BASIC = {"OPENSEARCH_USER": "shop", "OPENSEARCH_PASSWORD": SECRET}
KEYED = {"OPENSEARCH_API_KEY": "os_" + SECRET.encode().hex()}
AWS = {"OPENSEARCH_AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": SECRET}
WAYS = {
    "user and password": (BASIC, password("shop", SECRET)),
    "API key": (KEYED, header(f"ApiKey {KEYED['OPENSEARCH_API_KEY']}")),
    "AWS": (AWS, signature("AKID", SECRET, "eu-central-1", "es")),
}


@pytest.mark.parametrize("way", ["API key", "AWS"])
def test_commands_sign_in(cluster, authority, settings, products, way):
    """With a key or a signature: products get their vectors, are found and reranked, and are as they were again."""
    signs, refusal = WAYS[way]
    with secured(cluster, authority, refusal=refusal) as proxy:
        settings(proxy.url, **signs)
        assert done("ingest", products)["written"] == len(TITLES)
        assert done("search", products, "fire tv")["reranked"]
        assert done("remove", products, "--yes")["written"] == len(TITLES)


def test_a_password_in_the_address_signs_in(cluster, authority, settings, products):
    """An address as hosted clusters give it, with user and password in it, is used, and shown without them."""
    with secured(cluster, authority, refusal=password("shop", "p@ss")) as proxy:
        settings(proxy.url.replace("://", "://shop:p%40ss@"))
        assert done("search", products, "fire tv", "--rerank", "none")["hits"]
        with connect() as found:
            assert "p@ss" not in repr(found)


def test_a_client_certificate_signs_in(cluster, authority, settings, products, tmp_path):
    """Where the cluster demands a certificate, one does; without it the message names the setting."""
    authority.issue_cert("shop@example.org").private_key_and_cert_chain_pem.write_to_path(tmp_path / "shop.pem")
    with secured(cluster, authority, certificates=True) as proxy:
        settings(proxy.url, OPENSEARCH_CERT="shop.pem")
        assert done("search", products, "fire tv", "--rerank", "none")["hits"]
        settings(proxy.url)
        refused = run("search", products, "fire tv")
    assert refused.exit_code == 6
    assert "set OPENSEARCH_CERT and OPENSEARCH_KEY" in refused.stderr


WRONG = {
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


@pytest.mark.parametrize("name", WRONG)
def test_a_refused_sign_in_is_explained(cluster, authority, settings, caplog, name):
    """The message says who signed in and which settings to look at, and holds no secret, nor does any log."""
    way, signs, wanted = WRONG[name]
    with caplog.at_level(logging.DEBUG), secured(cluster, authority, refusal=WAYS[way][1]) as proxy:
        settings(proxy.url, **signs)
        refused = run("search", "products", "fire tv")
        with connect() as found:
            assert SECRET not in repr(found) + repr(found.transport.kwargs)
    assert refused.exit_code == 6
    assert re.search(wanted, refused.stderr)
    for hidden in (SECRET, SECRET.encode().hex()):
        assert hidden not in refused.output + caplog.text


@pytest.mark.parametrize(
    ("name", "changes", "wanted"),
    [
        ("127.0.0.1", {"OPENSEARCH_CA": None}, r"certificate is of no CA known here: set OPENSEARCH_CA"),
        ("shop.example", {}, r"certificate is for another name"),
        ("127.0.0.1", {"url": ("https", "http"), "OPENSEARCH_CA": None}, r"its address begins with https://"),
    ],
)
def test_encryption_that_fails_is_explained(cluster, authority, settings, name, changes, wanted):
    """An unknown CA, a certificate for another name and a plain request are told apart; nothing is read unchecked."""
    changes = dict(changes)
    with secured(cluster, authority, name=name) as proxy:
        settings(proxy.url.replace(*changes.pop("url", ("", ""))), **changes)
        refused = run("search", "products", "fire tv")
    assert refused.exit_code == 6
    assert re.search(wanted, refused.stderr)
    assert proxy.seen == []


def test_https_to_a_plain_port_is_explained(cluster, settings):
    """A cluster that speaks no TLS is told from one that is away."""
    settings(cluster.replace("http://", "https://"))
    refused = run("search", "products", "fire tv")
    assert refused.exit_code == 6
    assert "speaks no TLS" in refused.stderr


def test_where_scripts_are_forbidden_the_client_ranks(cluster, authority, settings, shop):
    """A cluster that takes no script from us is searched in client mode by itself, and the result is whole."""
    shop.point()
    shop.client.delete_script(id=script_id(), ignore=404)
    with secured(cluster, authority, forbids=("PUT /_scripts",)) as proxy:
        settings(proxy.url)
        found, wanted = (done("search", shop.index, "fire tv", *more) for more in ((), ("--rerank", "client")))
    assert (found["mode"], found["reranked"]) == ("client", True)
    assert {hit["title"] for hit in found["hits"]} == {"fire tv stick", "fire pit", "tv stand"}
    assert found["hits"] == wanted["hits"]
    assert "PUT /_scripts" in proxy.seen


def test_remove_does_what_it_may(cluster, authority, settings, shop):
    """Without the permissions for scripts `remove` takes the vectors out all the same, and says what it left."""
    shop.point()
    with secured(cluster, authority, forbids=("GET /_cluster/state",)) as proxy:
        settings(proxy.url)
        removed = done("remove", shop.index, "--yes")
    assert removed["written"] == len(TITLES)
    assert "forbids" in removed["users"]


@pytest.mark.parametrize("forbidden", ["PUT /INDEX/_mapping", "POST /INDEX/_count", "POST /_bulk"])
def test_what_is_forbidden_is_named(cluster, authority, settings, products, forbidden):
    """Where the cluster forbids a request, the command ends with the permission that it takes."""
    with secured(cluster, authority, forbids=(forbidden,)) as proxy:
        settings(proxy.url)
        refused = run("ingest", products)
    assert refused.exit_code == 6
    assert "forbids this (403): no permissions for" in refused.stderr
    assert f"takes {', '.join(PERMISSIONS[forbidden])}; docs/permissions.md" in refused.stderr
