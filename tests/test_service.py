"""Laws of the HTTP service, asked over HTTP of the running service."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.fields import Fields
from anthem_core.node.choose import IMAGE
from anthem_plugin.painless import score_script, script_id
from anthem_plugin.rewrite import rewrite
from anthem_plugin.scoring import Scoring
from anthem_plugin.service.common import MAX_BYTES, MAX_CHARACTERS, MAX_TEXTS
from anthem_plugin.service.rewriting import MAX_DEPTH, MAX_WINDOW

REPOSITORY = Path(__file__).parents[1]
SERVE = [sys.executable, "-c", "from anthem_plugin.service.cli import serve; serve()"]
SECRET = "xylophone"
MATCH = {"query": {"match": {"title": "fire tv"}}, "size": 24, "aggs": {"brands": {"terms": {"field": "brand"}}}}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda node: st.lists(node, max_size=3) | st.dictionaries(texts, node, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["query", "sort", "_source", "rescore", "from", "size", "collapse", "match", "title"])
bodies = st.dictionaries(keys, values | st.dictionaries(keys, values, max_size=2), max_size=4)


@pytest.fixture(scope="module")
def service(encoder, serving):
    """HTTP client of the running application."""
    with serving(encoder) as http:
        yield http


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


def test_health_names_model_and_version(service, encoder):
    """A service that answers is healthy, and says with which model and in which version."""
    state = {"status": "ok", "model": encoder.bundle.model, "version": version("anthem-search")}
    assert service.get("/health").json() == state


def test_the_endpoints_are_described(service):
    """The OpenAPI description at /docs names every endpoint, and a sentence as what a refusal holds."""
    assert service.get("/docs").status_code == 200
    described = service.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/v1/rerank", "/rerank", "/rewrite", "/encode/query", "/encode/products", "/health", "/ready", "/metrics",
    }  # fmt: skip
    refused = described["paths"]["/rewrite"]["post"]["responses"]["422"]
    assert refused["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Refusal"}


@given(texts)
def test_a_query_has_the_numbers_of_the_encoder(service, encoder, text):
    """A query encoded over HTTP is the encoder's to the last bit, and null with a reason where the encoder has none."""
    answer = service.post("/encode/query", json={"text": text}).json()
    query = encoder.query(text)
    assert (answer["query"] is None) == (query is None) == (answer["reason"] is not None)
    if query is not None:
        for name in ("centres", "limits", "weights", "size"):
            assert np.array_equal(answer["query"][name], getattr(query, name))


@given(st.lists(texts, max_size=5))
def test_products_have_the_numbers_of_the_encoder_in_order(service, encoder, titles):
    """Products encoded over HTTP are what `anthem ingest` writes, in the order they were given."""
    answer = service.post("/encode/products", json={"texts": titles}).json()
    points = encoder.products(titles)
    made = [Fields().document(point, encoder.bundle.model, title) for point, title in zip(points, titles, strict=True)]
    fields = zip(answer["points"], answer["text_hashes"], strict=True)
    assert made == [
        {"anthem": {"vector": point, "model": answer["model"], "text_hash": mark}} for point, mark in fields
    ]
    assert np.array_equal(np.array(answer["points"], np.float32).reshape(points.shape), points)


@pytest.mark.parametrize("how", [{}, {"query_text": "fire tv"}, {"query_path": "query.match.title"}, {"window": 7}])
def test_a_rewritten_body_is_the_rewriters(service, encoder, how):
    """The rewriter answers over HTTP what the pure function answers, however the query text is named."""
    script = score_script(encoder.query("fire tv"), Scoring.of(encoder.bundle))
    expected = rewrite(MATCH, script, window=how.get("window", 100))
    answer = service.post("/rewrite", json={"body": MATCH, **how}).json()
    assert answer == {"body": expected.body, "reranked": True, "reason": None}


@given(bodies, st.none() | texts)
def test_no_body_is_too_odd_to_come_back(service, body, text):
    """Any JSON body comes back, and one that is not reranked comes back as it was, with a reason."""
    response = service.post("/rewrite", json={"body": body, "query_text": text})
    assert response.status_code == 200
    answer = response.json()
    assert answer["reranked"] == (answer["reason"] is None)
    assert answer["reranked"] or answer["body"] == body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"query": {"match_all": {}}}, "no query text"),
        ({"query": {"match": {"title": "!?"}}}, "no letters or digits"),
        ({**MATCH, "sort": ["price"]}, "sorts by"),
        ({**MATCH, "_source": 5}, "TypeError"),
        ({"query": {"match": {"title": "a" * (MAX_CHARACTERS + 1)}}}, "characters"),
    ],
)
def test_a_body_that_cannot_be_reranked_says_why(service, body, reason):
    """A body the rewriter leaves alone comes back as it was, and the reason names the cause."""
    answer = service.post("/rewrite", json={"body": body}).json()
    assert answer["body"] == body
    assert not answer["reranked"]
    assert reason in answer["reason"]


NESTED = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
REFUSED = {
    "nothing": ("/rewrite", b"", "The body"),
    "no JSON": ("/encode/query", b'{"text": ', "at character"),
    "no object": ("/encode/query", b"[]", "The body"),
    "no UTF-8": ("/encode/query", b'{"text": "\xff"}', "encoding"),
    "endless nesting": ("/rewrite", b"[" * 100_000, "nesting"),
    "deep nesting": ("/rewrite", b'{"body": ' + NESTED + b"}", "deeper"),
    "no number": ("/rewrite", b'{"body": {"min_score": NaN}}', "NaN"),
    "too large a number": ("/rewrite", b'{"body": {"min_score": 1e999}}', "infinite"),
    "too long a number": ("/rewrite", b'{"body": {"size": ' + b"9" * 5000 + b"}}", "numbers"),
    "NaN as a window": ("/rewrite", b'{"body": {}, "window": NaN}', "window"),
    "half a pair in a body": ("/rewrite", rb'{"body": {"query": {"match": {"title": "\ud800"}}}}', "surrogate"),
    "half a pair in a key": ("/rewrite", rb'{"body": {"\ud800": 1}}', "surrogate"),
    "half a pair in a text": ("/encode/query", rb'{"text": "\ud800"}', "text"),
    "half a pair in a title": ("/encode/products", rb'{"texts": ["a", "\udc00"]}', "texts.1"),
    "a number as text": ("/encode/query", b'{"text": 5}', "text"),
    "one text, no list": ("/encode/products", b'{"texts": "red shoe"}', "texts"),
    "a misspelled name": ("/rewrite", b'{"body": {}, "windows": 5}', "windows"),
    "half a misspelled name": ("/rewrite", rb'{"body": {}, "\ud800": 5}', "unicode"),
    "no window": ("/rewrite", b'{"body": {}, "window": 0}', "window"),
    "too wide a window": ("/rewrite", b'{"body": {}, "window": %d}' % (MAX_WINDOW + 1), "window"),
    "a body in quotes": ("/rewrite", b'{"body": "{}"}', "body"),
    "text and path": ("/rewrite", b'{"body": {}, "query_text": "a", "query_path": "b"}', "not both"),
    "too long a text": ("/encode/query", json.dumps({"text": "a" * (MAX_CHARACTERS + 1)}).encode(), "text"),
    "too many texts": ("/encode/products", json.dumps({"texts": ["a"] * (MAX_TEXTS + 1)}).encode(), "texts"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_a_sentence(service, case):
    """Bad input is answered by a 422 whose one sentence names the place or the fault."""
    path, content, named = REFUSED[case]
    response = service.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert set(response.json()) == {"detail"}
    assert named in response.json()["detail"]
    assert response.json()["detail"].endswith(".")


def test_a_request_of_the_greatest_size_is_answered_and_one_beyond_is_not(service):
    """As many texts, as long, as are allowed are encoded; a request of more bytes than that is refused unread."""
    answer = service.post("/encode/products", json={"texts": ["é" * MAX_CHARACTERS] * MAX_TEXTS})
    assert len(answer.json()["points"]) == MAX_TEXTS
    assert service.post("/encode/products", content=b" " * (MAX_BYTES + 1)).status_code == 413


def test_requests_at_once_do_not_mix(service, encoder):
    """Queries asked at the same time get each their own answer."""
    asked = [f"fire tv {number}" for number in range(24)]
    answers = [None] * len(asked)

    def ask(number):
        answers[number] = service.post("/encode/query", json={"text": asked[number]}).json()["query"]["centres"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(
        np.array_equal(encoder.query(text).centres, centres) for text, centres in zip(asked, answers, strict=True)
    )


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


def test_a_port_that_is_taken_ends_with_1_and_its_number(bundle, service, nowhere):
    """A second service on the same port ends with 1, and says which port it could not have."""
    command = [*SERVE, "--bundle", str(bundle.path), "--port", str(service.base_url.port)]
    environment = os.environ | {"OPENSEARCH_URL": nowhere}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 1
    assert f"port {service.base_url.port}" in ended.stderr
    assert "Serving" not in ended.stdout


@pytest.mark.node
def test_a_cluster_answers_what_the_service_wrote_and_rewrote(running, bundle, cluster, client, index, tmp_path):
    """With the script it stores, the vectors it encodes and the body it rewrites, a real cluster reranks every hit."""
    client.delete_script(id=script_id(), ignore=404)
    client.indices.create(index=index, body={"mappings": Fields().mapping(bundle.dimension)})
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
    assert re.findall(r"image: (\S+)", compose) == [IMAGE]
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
