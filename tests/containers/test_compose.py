"""docker-compose.yml on a real engine: OpenSearch and the service, built by our Dockerfile, from start to removal."""

import os

import httpx
import pytest
from containers.compose import START_TIMEOUT_SECONDS, ComposeProject, find_compose
from containers.engine import NoEngineError
from containers.images import provide_python
from small_index import PRODUCTS, match

from anthem_core.opensearch.connection import connect
from anthem_ingest.actions import ProductDocument
from anthem_ingest.ingest import load_documents
from anthem_plugin.client import AnthemClient
from anthem_sandbox.node.system import find_free_port

pytestmark = [pytest.mark.containers, pytest.mark.usefixtures("opensearch_image")]

QUERIES = ["red fire tv", "wireless tablet", "acme kindle", "pro shoe"]


@pytest.fixture(scope="module")
def project(engine, build_folder, proof, wait_until):
    """The project of docker-compose.yml with both services healthy, on free ports."""
    if not proof:
        pytest.skip("it builds the service: make containers")
    try:
        find_compose(engine), provide_python(engine, build_folder)
    except NoEngineError as error:
        pytest.fail(str(error))
    ports = {name: str(find_free_port()) for name in ("OPENSEARCH_PORT", "ANTHEM_PORT")}
    project = ComposeProject(engine, f"anthem-test-{os.getpid()}", ports)
    try:
        project.start(wait_until)
        yield project
    finally:
        project.compose("down", "--volumes", "--rmi", "local")


@pytest.fixture(scope="module")
def products(project, encoder):
    """Client of the OpenSearch in the container, with an index of products that this process ingested."""
    with connect(project.url("OPENSEARCH_PORT")) as client:
        documents = [ProductDocument(str(number), {"title": title}) for number, title in enumerate(PRODUCTS)]
        assert load_documents(client, "products", documents, encoder).written == len(PRODUCTS)
        yield client


def ask_service(project, path, question):
    """The service's JSON answer to a request."""
    answer = httpx.post(project.url("ANTHEM_PORT") + path, json=question, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in response["hits"]["hits"]]


def search_by_service(project, client, query):
    """Response of the container's OpenSearch to the body that the container's service rewrote."""
    rewritten = ask_service(project, "/rewrite", {"body": match(query)})
    assert rewritten["reranked"], rewritten["reason"]
    response = client.search(index="products", body=rewritten["body"])
    assert response["_shards"]["failed"] == 0
    return response


def test_both_services_are_healthy(project):
    """After `up` the health checks of OpenSearch and of the service succeed."""
    assert [project.is_healthy(service) for service in ("opensearch", "anthem")] == [True, True]


def test_the_service_reranks_documents(project):
    """`/v1/rerank` of the container gives every document once, the one that matches the query first."""
    titles = ["Yoga Mat", "Desk Lamp", "Makita Cordless Drill 18V", "Drill Bit Set"]
    results = ask_service(project, "/v1/rerank", {"query": "cordless drill", "documents": titles})["results"]
    assert results[0]["index"] == 2
    assert sorted(result["index"] for result in results) == [0, 1, 2, 3]


@pytest.mark.parametrize("query", QUERIES)
def test_the_service_reranks_a_search(project, products, encoder, query):
    """A search that the service rewrote finds what a client of this process finds, in the same order."""
    expected = AnthemClient(products, encoder).search("products", match(query))
    assert expected["anthem"]["reranked"], expected["anthem"]
    assert ids(search_by_service(project, products, query)) == ids(expected)


@pytest.mark.usefixtures("products")
def test_the_service_reaches_opensearch_by_name(project):
    """In the service's container `anthem search` finds the cluster at the address that docker-compose.yml gives it."""
    words = ["exec", project.container("anthem"), "anthem", "search", "products", QUERIES[0], "--json"]
    done = project.engine.call(*words)
    assert done.returncode == 0, done.stderr
    assert '"reranked": true' in done.stdout


def test_a_restart_keeps_the_index(project, products, wait_until):
    """After `restart` both services become healthy again, and a search gives the same hits as before."""
    before = [ids(search_by_service(project, products, query)) for query in QUERIES]
    project.compose("restart")
    for service in ("opensearch", "anthem"):
        wait_until(lambda service=service: project.is_healthy(service), START_TIMEOUT_SECONDS)
    wait_until(lambda: products.cluster.health(wait_for_status="yellow")["status"] != "red", 60)
    assert [ids(search_by_service(project, products, query)) for query in QUERIES] == before


def test_removal_leaves_nothing(project):
    """After `down --volumes` there is no container, no volume and no network of the project."""
    kinds = ("ps", "volume", "network")
    assert all(project.list_objects(kind) for kind in kinds)
    project.compose("down", "--volumes")
    assert [project.list_objects(kind) for kind in kinds] == [[], [], []]
