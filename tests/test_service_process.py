"""Laws of `anthem serve` as a process: keys, certificates, logs, the end of it, and the image it runs in."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.scoring.painless import script_id
from anthem_sandbox.node.cluster_choice import DOCKER_IMAGE

REPOSITORY = Path(__file__).parents[1]
SERVE = [sys.executable, "-c", "from anthem_plugin.service.cli import serve; serve()"]
SECRET = "xylophone"


@pytest.fixture(scope="module")
def running(until):
    """Runs a real `anthem serve` process; gives it and a client of it, once it answers."""

    @contextmanager
    def run(bundle, log, cluster, *options, verify=True):
        environment = os.environ | {"OPENSEARCH_URL": cluster}
        with log.open("wb") as out:
            command = [*SERVE, "--bundle", str(bundle.path), "--port", "0", *options]
            process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        try:
            said = until(
                lambda: process.poll() is not None or re.search(r"https?://127\.0\.0\.1:\d+ ", log.read_text())
            )
            assert process.poll() is None, log.read_text()
            with httpx.Client(base_url=said[0].strip(), timeout=60, verify=verify) as http:
                yield process, http
        finally:
            process.kill()
            process.wait()

    return run


@pytest.fixture(scope="module")
def nowhere():
    """URL of a cluster that is not there: the port is taken, and nobody listens."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{door.getsockname()[1]}"


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_process_ends_when_told_and_has_logged_no_text(running, bundle, tmp_path, nowhere, told):
    """A real process without a cluster serves, logs no text of any request, good or bad, and ends with 0 when told."""
    log = tmp_path / "log"
    with running(bundle, log, nowhere) as (process, http):
        http.post("/encode/query", json={"text": SECRET})
        http.post("/encode/products", json={"texts": [SECRET]})
        http.post("/v1/rerank", json={"query": SECRET, "documents": [SECRET]})
        http.post("/rerank", json={"query": SECRET, "texts": SECRET})
        http.post("/rewrite", json={"body": {"query": {"match": {"title": SECRET}}, "_source": 5}})
        http.post("/rewrite", content=f'{{"body": {SECRET}}}', headers={"content-type": "application/json"})
        http.post("/encode/query", json={SECRET: SECRET})
        assert http.get("/encode/query", params={"text": SECRET}).status_code == 405
        process.send_signal(told)
        assert process.wait(timeout=10) == 0
    assert "was not stored" in log.read_text()
    assert SECRET not in log.read_text()


def test_texts_are_logged_where_that_was_asked_for(running, bundle, tmp_path, nowhere):
    """With `--log-texts` every text is a line of JSON in the log, a line break in it included."""
    log = tmp_path / "log"
    with running(bundle, log, nowhere, "--log-texts") as (_, http):
        http.post("/v1/rerank", json={"query": SECRET, "documents": [f"{SECRET}\nforged"]})
    assert f'"{SECRET}"\n' in log.read_text()
    assert f'"{SECRET}\\nforged"\n' in log.read_text()


def test_the_limits_named_are_those_of_the_service(running, bundle, tmp_path, nowhere):
    """Cache and limits of a request are what the command line says."""
    options = ["--cache", "0", "--max-documents", "2", "--max-characters", "3", "--max-bytes", "90"]
    with running(bundle, tmp_path / "log", nowhere, *options) as (_, http):
        refused = [
            http.post("/encode/products", json={"texts": ["a"] * 3}),
            http.post("/encode/query", json={"text": "abcd"}),
            http.post("/encode/query", json={"text": "a" * 90}),
        ]
        for _ in range(2):
            http.post("/encode/query", json={"text": "tv"})
        shown = http.get("/metrics").text
    assert [one.status_code for one in refused] == [422, 422, 413]
    for most, one in zip(("most 2", "most 3", "than 90"), refused, strict=True):
        assert most in one.json()["detail"]
    assert 'anthem_query_cache_total{result="miss"} 2.0' in shown


def test_a_process_with_keys_and_a_certificate(running, bundle, tmp_path, nowhere):
    """With both files the service speaks HTTPS alone and answers callers with a key alone; the key is never logged."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "tls.pem")
    (tmp_path / "keys").write_text(f"first\n\n{SECRET}\n")
    authority.configure_trust(trust := ssl.create_default_context())
    options = ["--certificate", str(tmp_path / "tls.pem"), "--api-keys", str(tmp_path / "keys")]
    with running(bundle, tmp_path / "log", nowhere, *options, verify=trust) as (_, http):
        assert http.base_url.scheme == "https"
        assert http.post("/encode/query", json={"text": "tv"}).status_code == 401
        shown = {"Authorization": f"Bearer {SECRET}"}
        assert http.post("/encode/query", json={"text": "tv"}, headers=shown).status_code == 200
    assert SECRET not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--api-keys", "empty"], 4, "0 keys"),
        (["--api-keys", "odd"], 4, "1 keys"),
        (["--certificate", "empty"], 4, "no pair"),
        (["--private-key", "empty"], 2, "--certificate"),
    ],
)
def test_keys_and_certificates_that_are_none(bundle, nowhere, tmp_path, options, code, word):
    """A file that holds no key or no certificate ends the command: the service never runs with less than was asked."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "odd").write_text("två nycklar\n")
    command = [*SERVE, "--bundle", str(bundle.path), "--port", "0", options[0], str(tmp_path / options[1])]
    environment = os.environ | {"OPENSEARCH_URL": nowhere}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == code
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_request_under_way_is_answered_before_the_end(running, bundle, tmp_path, nowhere):
    """A service that is told to end in the middle of a request answers it, then ends with 0."""
    with running(bundle, tmp_path / "log", nowhere) as (process, http):

        def slowly():
            yield b'{"texts": ["fire tv", '
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.7)
            yield b'"red shoe"]}'

        answer = http.post("/encode/products", content=slowly(), headers={"content-type": "application/json"})
        assert process.wait(timeout=10) == 0
    assert len(answer.json()["points"]) == 2


def test_a_bundle_that_cannot_be_used_ends_with_its_exit_code(tmp_path):
    """A folder that is no bundle ends `anthem serve` with 3 and the folder's name."""
    ended = subprocess.run([*SERVE, "--bundle", str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert str(tmp_path) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_ends_with_1_and_its_number(bundle, nowhere):
    """A service on a port that is taken ends with 1, and says which port it could not have."""
    port = nowhere.rpartition(":")[2]
    command = [*SERVE, "--bundle", str(bundle.path), "--port", port]
    environment = os.environ | {"OPENSEARCH_URL": nowhere}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 1
    assert f"port {port}" in ended.stderr
    assert "Serving" not in ended.stdout


@pytest.mark.node
def test_a_cluster_answers_what_the_service_wrote_and_rewrote(running, bundle, cluster, client, index, tmp_path):
    """With the script it stores, the vectors it encodes and the body it rewrites, a real cluster reranks every hit."""
    client.delete_script(id=script_id(), ignore=404)
    client.indices.create(index=index, body={"mappings": VectorFields().mapping(bundle.dimension)})
    titles = ["fire tv stick", "fire pit", "tv stand", "fire tv cube remote"]
    with running(bundle, tmp_path / "log", cluster) as (_, http):
        made = http.post("/encode/products", json={"texts": titles}).json()
        for title, point, mark in zip(titles, made["points"], made["text_hashes"], strict=True):
            vector = {"vector": point, "model": made["model"], "text_hash": mark}
            client.index(index=index, body={"title": title, "anthem": vector})
        client.indices.refresh(index=index)
        answer = http.post("/rewrite", json={"body": {"query": {"match": {"title": "fire tv"}}}}).json()
    found = client.search(index=index, body=answer["body"])
    assert found["_shards"]["failed"] == 0
    assert {hit["_source"]["title"] for hit in found["hits"]["hits"]} == set(titles)
    assert all(1 < hit["_score"] < 2.01 and "anthem" not in hit["_source"] for hit in found["hits"]["hits"])


def test_compose_runs_the_version_that_is_tested_on_the_loopback_address_alone():
    """The compose file pins the OpenSearch that tests run on, waits for its health and publishes on loopback only."""
    compose = (REPOSITORY / "docker-compose.yml").read_text()
    assert re.findall(r"image: (\S+)", compose) == [DOCKER_IMAGE]
    assert compose.count("healthcheck:") == 1
    assert "condition: service_healthy" in compose
    ports = re.findall(r"- (\S+:\d+)$", compose, re.MULTILINE)
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_is_pinned_healthy_and_no_root():
    """The service's image has a tagged base, a health check on /health and a user of its own."""
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in bases)
    assert lines[-1].startswith("CMD")
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert any("/health" in line for line in lines)
    assert any(re.fullmatch(r"USER (?!root)\w+", line) for line in lines)
