"""A fixture that loads rows with `anthem ingest --corpus`."""

import json

import pytest
from click.testing import CliRunner

from anthem_ingest.cli import ingest


@pytest.fixture
def load(cluster, index, tmp_path):
    """Function that loads rows as JSON lines into the index of the test; returns the result of the command."""

    def run(rows, *options):
        (tmp_path / "shop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = [index, "--corpus", str(tmp_path / "shop.jsonl"), "--url", cluster, "--json", "--dead-letter"]
        return CliRunner().invoke(ingest, [*words, str(tmp_path / "dead"), *options])

    return run
