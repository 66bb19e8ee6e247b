"""`anthem serve` as a process: API keys, certificates, logs, shutdown, and the Docker image."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import httpx
import numpy as np
import pytest
import trustme

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.stored_vectors import unpack_points
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.scoring.painless import script_id
from anthem_plugin.scoring.params import ScoringParams, to_float64
from anthem_plugin.scoring.window import score_window
from anthem_sandbox.node.cluster_choice import DOCKER_IMAGE

REPOSITORY = Path(__file__).parents[1]
SERVE = [sys.executable, "-c", "from anthem_plugin.service.cli import serve; serve()"]
SECRET = "xylophone"


@pytest.fixture(scope="module")
def run_process(wait_until):
    """Context manager that runs a real `anthem serve` process; yields it and an HTTP client once it listens."""

    @contextmanager
    def run(bundle, log, cluster, *options, verify=True):
        environment = os.environ | {"OPENSEARCH_URL": cluster}
        with log.open("wb") as out:
            command = [*SERVE, "--bundle", str(bundle.path), "--port", "0", *options]
            process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        try:
            match = wait_until(
                lambda: process.poll() is not None or re.search(r"https?://127\.0\.0\.1:\d+ ", log.read_text())
            )
            assert process.poll() is None, log.read_text()
            with httpx.Client(base_url=match[0].strip(), timeout=60, verify=verify) as http:
                yield process, http
        finally:
            process.kill()
            process.wait()

    return run


@pytest.fixture(scope="module")
def unreachable_cluster():
    """URL of a cluster that cannot be reached: the port is bound, but nothing listens on it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_exits_on_a_signal_and_logs_no_text(
    run_process, bundle, tmp_path, unreachable_cluster, signal_number
):
    """Without a cluster the process serves, logs no text of valid or invalid requests, and exits with 0 on a signal."""
    log = tmp_path / "log"
    with run_process(bundle, log, unreachable_cluster) as (process, http):
        http.post("/encode/query", json={"text": SECRET})
        http.post("/encode/products", json={"texts": [SECRET]})
        http.post("/v1/rerank", json={"query": SECRET, "documents": [SECRET]})
        http.post("/rerank", json={"query": SECRET, "texts": SECRET})
        http.post("/rewrite", json={"body": {"query": {"match": {"title": SECRET}}, "_source": 5}})
        http.post("/rewrite", content=f'{{"body": {SECRET}}}', headers={"content-type": "application/json"})
        http.post("/encode/query", json={SECRET: SECRET})
        assert http.get("/encode/query", params={"text": SECRET}).status_code == 405
        process.send_signal(signal_number)
        assert process.wait(timeout=10) == 0
    assert "was not stored" in log.read_text()
    assert SECRET not in log.read_text()


def test_log_texts_logs_the_texts(run_process, bundle, tmp_path, unreachable_cluster):
    """With `--log-texts` every text is one line of JSON in the log, even if it contains a line break."""
    log = tmp_path / "log"
    with run_process(bundle, log, unreachable_cluster, "--log-texts") as (_, http):
        http.post("/v1/rerank", json={"query": SECRET, "documents": [f"{SECRET}\nforged"]})
    assert f'"{SECRET}"\n' in log.read_text()
    assert f'"{SECRET}\\nforged"\n' in log.read_text()


def test_the_options_set_the_limits(run_process, bundle, tmp_path, unreachable_cluster):
    """The options of the command set the cache and the limits of requests."""
    options = ["--cache", "0", "--max-documents", "2", "--max-characters", "3", "--max-bytes", "90"]
    with run_process(bundle, tmp_path / "log", unreachable_cluster, *options) as (_, http):
        refused = [
            http.post("/encode/products", json={"texts": ["a"] * 3}),
            http.post("/encode/query", json={"text": "abcd"}),
            http.post("/encode/query", json={"text": "a" * 90}),
        ]
        for _ in range(2):
            http.post("/encode/query", json={"text": "tv"})
        metrics = http.get("/metrics").text
    assert [response.status_code for response in refused] == [422, 422, 413]
    for limit, response in zip(("most 2", "most 3", "than 90"), refused, strict=True):
        assert limit in response.json()["detail"]
    assert 'anthem_query_cache_total{encoding="hyperboloids",result="miss"} 2.0' in metrics


def test_a_process_with_keys_and_a_certificate(run_process, bundle, tmp_path, unreachable_cluster):
    """With a certificate and keys the service speaks HTTPS, requires a key, and never logs it."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "tls.pem")
    (tmp_path / "keys").write_text(f"first\n\n{SECRET}\n")
    authority.configure_trust(trust := ssl.create_default_context())
    options = ["--certificate", str(tmp_path / "tls.pem"), "--api-keys", str(tmp_path / "keys")]
    with run_process(bundle, tmp_path / "log", unreachable_cluster, *options, verify=trust) as (_, http):
        assert http.base_url.scheme == "https"
        assert http.post("/encode/query", json={"text": "tv"}).status_code == 401
        headers = {"Authorization": f"Bearer {SECRET}"}
        assert http.post("/encode/query", json={"text": "tv"}, headers=headers).status_code == 200
    assert SECRET not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--api-keys", "empty"], 4, "no API keys"),
        (["--api-keys", "odd"], 4, "key 1 of 1"),
        (["--certificate", "empty"], 4, "valid pair"),
        (["--private-key", "empty"], 2, "--certificate"),
    ],
)
def test_unusable_keys_and_certificates_end_the_command(bundle, unreachable_cluster, tmp_path, options, code, word):
    """A file without a usable key or certificate ends the command, so the service never runs unprotected."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "odd").write_text("två nycklar\n")
    command = [*SERVE, "--bundle", str(bundle.path), "--port", "0", options[0], str(tmp_path / options[1])]
    environment = os.environ | {"OPENSEARCH_URL": unreachable_cluster}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == code
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_request_in_progress_is_answered_before_the_exit(run_process, bundle, tmp_path, unreachable_cluster):
    """A service that gets SIGTERM during a request answers it, then exits with 0."""
    with run_process(bundle, tmp_path / "log", unreachable_cluster) as (process, http):

        def slow_body():
            yield b'{"texts": ["fire tv", '
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.7)
            yield b'"red shoe"]}'

        answer = http.post("/encode/products", content=slow_body(), headers={"content-type": "application/json"})
        assert process.wait(timeout=10) == 0
    assert len(answer.json()["vectors"]) == 2


def test_a_kept_connection_ends_with_an_answer(run_process, bundle, tmp_path, unreachable_cluster):
    """A service that gets SIGTERM answers the next request of a kept connection, and says that it closes it."""
    with run_process(bundle, tmp_path / "log", unreachable_cluster) as (process, http):
        connection = HTTPConnection(http.base_url.host, http.base_url.port, timeout=60)
        connection.request("GET", "/health")
        connection.getresponse().read()
        process.send_signal(signal.SIGTERM)
        is_kept = True
        while is_kept:
            connection.request("GET", "/health")
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["status"]) == (200, "ok")
            is_kept = not response.will_close
        assert process.wait(timeout=10) == 0


def send_over_one_connection(http, path, content, pauses):
    """Status and `Retry-After` of each answer, or the error; the connection is kept between the requests."""
    connection, answers = HTTPConnection(http.base_url.host, http.base_url.port, timeout=60), []
    for pause in (0.0, *pauses):
        time.sleep(pause)
        try:
            connection.request("POST", path, content, {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
            answers.append((response.status, response.headers["retry-after"]))
        except (OSError, HTTPException) as error:
            answers.append(type(error).__name__)
            connection.close()
    connection.close()
    return answers


def test_a_request_after_a_pause_is_answered(run_process, bundle, tmp_path, unreachable_cluster, proof):
    """64 clients that pause as long as many clients keep a connection, 5 s, lose no request."""
    pauses = [5.0] * (6 if proof else 1)
    with run_process(bundle, tmp_path / "log", unreachable_cluster, "--concurrency", "128") as (_, http):
        body = b'{"body": {"query": {"match": {"title": "fire tv"}}}}'

        def send(client):
            return send_over_one_connection(http, "/rewrite", body, [pause + client / 2_500 for pause in pauses])

        with ThreadPoolExecutor(64) as threads:
            answers = Counter(answer for answers in threads.map(send, range(-32, 32)) for answer in answers)
        assert http.get("/health").headers["keep-alive"] == "timeout=115"
    assert answers == {(200, None): 64 * (1 + len(pauses))}


@pytest.mark.parametrize("path", ["/v1/rerank", "/nowhere"])
def test_a_large_request_at_the_limit_is_answered(run_process, bundle, tmp_path, unreachable_cluster, path):
    """A body of 2 MB is read to its end even if it is refused, so the client gets the 503 and when to come back."""
    body = json.dumps({"query": "fire tv", "documents": ["fire tv stick " * 500] * 300})
    with run_process(bundle, tmp_path / "log", unreachable_cluster, "--concurrency", "1") as (_, http):
        with ThreadPoolExecutor(16) as threads:
            sent = threads.map(lambda _: send_over_one_connection(http, path, body, (0.0,)), range(16))
            answers = Counter(answer for answers in sent for answer in answers)
        assert http.get("/health").status_code == 200
    assert answers[503, "1"] > 0
    assert set(answers) <= {(503, "1"), (200 if path == "/v1/rerank" else 404, None)}


def test_an_unusable_bundle_ends_the_command(tmp_path):
    """A folder that is not a bundle ends `anthem serve` with 3 and the name of the folder."""
    ended = subprocess.run([*SERVE, "--bundle", str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert str(tmp_path) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_ends_the_command(bundle, unreachable_cluster):
    """A port that is in use ends the command with 1 and the number of the port."""
    port = unreachable_cluster.rpartition(":")[2]
    command = [*SERVE, "--bundle", str(bundle.path), "--port", port]
    environment = os.environ | {"OPENSEARCH_URL": unreachable_cluster}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 1
    assert f"port {port}" in ended.stderr
    assert "Serving" not in ended.stdout


@pytest.mark.node
def test_a_cluster_reranks_with_what_the_service_computes(run_process, bundle, cluster, client, index, tmp_path):
    """With the script, the values and the rewritten body of the service, a real cluster ranks by all three signals."""
    client.delete_script(id=script_id(), ignore=404)
    settings = {"number_of_shards": 1}
    client.indices.create(index=index, body={"settings": settings, "mappings": ModelFields().mapping(bundle.dimension)})
    titles, body = ["fire tv stick", "fire pit", "tv stand", "fire tv cube remote"], {"query": {"match_all": {}}}
    with run_process(bundle, tmp_path / "log", cluster) as (_, http):
        encoded = http.post("/encode/products", json={"texts": titles}).json()
        values = zip(encoded["vectors"], encoded["trigrams"], encoded["text_hashes"], strict=True)
        for title, (vector, trigrams, text_hash) in zip(titles, values, strict=True):
            stored = {"vector": vector, "trigrams": trigrams, "model": encoded["model"], "text_hash": text_hash}
            client.index(index=index, body={"title": title, "anthem": stored})
        client.indices.refresh(index=index)
        answer = http.post("/rewrite", json={"body": body, "query_text": "fire tv"}).json()
    response = client.search(index=index, body=answer["body"])
    assert response["_shards"]["failed"] == 0
    found = {hit["_source"]["title"]: hit["_score"] for hit in response["hits"]["hits"]}
    assert not any("anthem" in hit["_source"] for hit in response["hits"]["hits"])
    distance = to_float64(Encoder(bundle).encode_query("fire tv")).distance(
        unpack_points(encoded["vectors"], encoded["vector_step"]), bundle.gamma
    )
    attention = AttentionScorer(bundle).score_titles("fire tv", titles)
    scoring = ScoringParams.from_bundle(bundle)
    expected = score_window(np.ones(len(titles)), scoring, distance=distance, attention=attention)
    np.testing.assert_allclose([found[title] for title in titles], expected, rtol=1e-5)


def test_compose_runs_the_tested_version_on_loopback():
    """The compose file uses the OpenSearch image of the tests, waits until it is healthy, and publishes on loopback."""
    compose = (REPOSITORY / "docker-compose.yml").read_text()
    assert re.findall(r"image: (\S+)", compose) == [DOCKER_IMAGE]
    assert compose.count("healthcheck:") == 1
    assert "condition: service_healthy" in compose
    ports = re.findall(r"- (\S+:\d+)$", compose, re.MULTILINE)
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_is_pinned_and_does_not_run_as_root():
    """The image of the service has a tagged base image, a health check on `/health`, and does not run as root."""
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in bases)
    assert lines[-1].startswith("CMD")
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert any("/health" in line for line in lines)
    assert any(re.fullmatch(r"USER (?!root)\w+", line) for line in lines)
