"""The options of `anthem serve` for the page, and the service without it."""

import pytest
from click.testing import CliRunner

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from anthem_core.opensearch.connection import connect
from anthem_plugin.service.app import create_app
from anthem_plugin.service.cli import page_address, serve
from anthem_plugin.service.settings import ServiceSettings
from anthem_plugin.service.ui.own_host import is_own_host
from anthem_plugin.service.ui.page_search import PageTarget


def test_a_service_without_the_page_has_nothing_of_it(encoder):
    """Without `--ui` the paths of the page do not exist."""
    with TestClient(create_app(encoder)) as http:
        for path in ("/ui", "/ui/app.js", "/ui/settings"):
            assert http.get(path).status_code == 404


@pytest.mark.parametrize(
    ("options", "sentence"),
    [(["--ui"], "--ui requires --index"), (["--index", "x"], "add --ui"), (["--field", "x"], "add --ui")],
)
def test_options_of_the_page_come_together(options, sentence):
    """`--ui` without an index, or an index without `--ui`, is a usage error that says what is missing."""
    done = CliRunner().invoke(serve, options)
    assert done.exit_code == 2
    assert sentence in done.stderr


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:80/ui"), ("0.0.0.0", "http://127.0.0.1:80/ui"), ("::", "http://[::1]:80/ui"),
     ("shop.example", "http://shop.example:80/ui")],
)  # fmt: skip
def test_the_address_can_be_opened(host, address):
    """The address that `anthem serve` prints is one that a browser on this machine can open."""
    assert page_address(host, 80) == address


@pytest.mark.parametrize(
    ("header", "is_own"),
    [("127.0.0.1:8000", True), ("10.1.2.3", True), ("[::1]:8000", True), ("[fe80::1]", True), ("localhost:8000", True),
     ("LOCALHOST.", True), ("page.localhost:80", True), ("Shop.Example:8000", True), ("evil.example:8000", False),
     ("localhost.evil.example", False), ("127.0.0.1.evil.example:8000", False), ("notlocalhost", False), ("", False),
     ("sub.shop.example", False)],
)  # fmt: skip
def test_a_host_is_own_if_no_foreign_site_can_have_it(header, is_own):
    """Addresses, localhost and the name of the service are own hosts, with or without a port; other names are not."""
    assert is_own_host(header, ("shop.example",)) == is_own


@pytest.mark.parametrize(("keys", "names", "is_refused"), [((), (), True), (("key",), (), False), ((), None, False)])
def test_a_foreign_name_does_not_reach_the_index(encoder, keys, names, is_refused):
    """Without keys and HTTPS, the page and /explain refuse foreign names; what reads no index accepts them."""
    with connect("http://127.0.0.1:9") as cluster:
        page = PageTarget(cluster, "products", names=names)
        app = create_app(encoder, ServiceSettings(api_keys=keys), page)
        with TestClient(app, base_url="http://evil.example:8000", headers={"Authorization": "Bearer key"}) as http:
            for path in ("/ui", "/ui/app.js", "/ui/settings", "/explain"):
                response = http.request(
                    "POST" if path == "/explain" else "GET", path, json={"query": "", "titles": ["x"]}
                )
                assert (response.status_code == 403) == is_refused
                assert not is_refused or "'evil.example:8000'; expected localhost" in response.json()["detail"]
            assert http.post("/encode/query", json={"text": "drill"}).status_code == 200


@pytest.mark.parametrize(("certificate", "names"), [(False, ("shop.example",)), (True, None)])
def test_the_name_in_host_reaches_the_page(monkeypatch, tmp_path, certificate, names):
    """The page answers under the name in `--host`; with a certificate, which only we have, under every name."""
    targets = []
    monkeypatch.setattr(
        "anthem_plugin.service.cli._build_server", lambda *given, **_: targets.append(given[4]) or 1 / 0
    )
    options = ["--ui", "--index", "products", "--url", "http://127.0.0.1:9", "--host", "shop.example"]
    (tmp_path / "tls.pem").touch()
    CliRunner().invoke(serve, [*options, *(["--certificate", str(tmp_path / "tls.pem")] if certificate else [])])
    assert [target.names for target in targets] == [names]
