"""The options of `anthem serve` for the page, and the service without it."""

import pytest
from click.testing import CliRunner

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from anthem_plugin.service.app import create_app
from anthem_plugin.service.cli import page_address, serve


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
