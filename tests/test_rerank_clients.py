"""Unmodified clients of Cohere's API rerank against the service: the extra `clients` has them."""

import asyncio
import gc
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = [
    pytest.mark.clients,
    pytest.mark.filterwarnings("default"),  # of packages that are not ours
]
cohere = pytest.importorskip("cohere", reason="the extra `clients` is not installed")

from anthem_plugin.service.settings import ServiceSettings

API_KEY = "xylophone"
QUERY = "fire tv"
TITLES = ["ceramic teapot", "fire tv stick 4k", "red tv stand", "fire pit", "टीवी fire"]


@pytest.fixture(scope="module")
def service(encoder, run_service):
    """HTTP client of a service with the shipped bundle that requires a key."""
    with run_service(encoder, ServiceSettings(api_keys=(API_KEY,))) as http:
        http.headers["Authorization"] = f"Bearer {API_KEY}"
        yield http


@pytest.fixture(scope="module")
def address(service):
    """Address of the service as the clients want it."""
    return str(service.base_url).rstrip("/")


@pytest.fixture(scope="module")
def expected(service):
    """Position and score of every title, most relevant first, as the service answers without a client."""
    results = service.post("/v2/rerank", json={"query": QUERY, "documents": TITLES}).json()["results"]
    assert results[0]["index"] == 1
    return [(result["index"], result["relevance_score"]) for result in results]


@pytest.fixture(autouse=True)
def collect_clients():
    """Collect the clients of a test while its filter of warnings holds: they do not close their connections."""
    yield
    gc.collect()


def numbers(response):
    """Position and score of each result of Cohere's client."""
    return [(result.index, result.relevance_score) for result in response.results]


def test_cohere_v2(address, expected):
    """`cohere.ClientV2` gets the ranking, its first results, an id and the version."""
    client = cohere.ClientV2(API_KEY, base_url=address)
    response = client.rerank(model="rerank-v3.5", query=QUERY, documents=TITLES)
    assert numbers(response) == expected
    assert response.id
    assert response.meta.api_version.version == "2"
    first = client.rerank(model="rerank-v3.5", query=QUERY, documents=TITLES, top_n=2, max_tokens_per_doc=4096)
    assert numbers(first) == expected[:2]


def test_cohere_v2_async(address, expected):
    """`cohere.AsyncClientV2` gets the same ranking."""

    async def rerank():
        async with cohere.AsyncClientV2(API_KEY, base_url=address) as client:
            return await client.rerank(model="rerank-v3.5", query=QUERY, documents=TITLES)

    assert numbers(asyncio.run(rerank())) == expected


def test_cohere_v1(address, expected):
    """`cohere.Client` gets the same ranking from version 1, also for objects with `rank_fields`, and the documents."""
    client = cohere.Client(API_KEY, base_url=address)
    response = client.rerank(query=QUERY, documents=TITLES, return_documents=True)
    assert numbers(response) == expected
    assert [result.document.text for result in response.results] == [TITLES[index] for index, _ in expected]
    products = [{"name": title, "brand": "Amazon"} for title in TITLES]
    assert numbers(client.rerank(query=QUERY, documents=products, rank_fields=["name"], top_n=3)) == expected[:3]


def test_cohere_shows_what_was_wrong(address):
    """A refused request is the exception of Cohere's client for its status, with the sentence of the service."""
    client = cohere.ClientV2(API_KEY, base_url=address)
    with pytest.raises(cohere.UnprocessableEntityError, match="documents: expected at least 1 item, found 0"):
        client.rerank(model="x", query=QUERY, documents=[])
    with pytest.raises(cohere.UnauthorizedError, match="The API key is wrong"):
        cohere.ClientV2("wrong", base_url=address).rerank(model="x", query=QUERY, documents=TITLES)


def test_cohere_waits_for_a_full_service(encoder, run_service, wait_until):
    """Cohere's client tries again after `Retry-After` when the service is full, and then gets its answer."""

    def halting():
        yield b'{"query": "tv", '
        time.sleep(1.5)
        yield b'"texts": ["tv"]}'

    with run_service(encoder, ServiceSettings(max_concurrency=1)) as http, ThreadPoolExecutor(1) as threads:
        slow = threads.submit(http.post, "/rerank", content=halting(), headers={"content-type": "application/json"})
        wait_until(lambda: http.get("/ready").status_code == 503)
        client = cohere.ClientV2(API_KEY, base_url=str(http.base_url).rstrip("/"))
        started = time.monotonic()
        assert len(client.rerank(model="x", query=QUERY, documents=TITLES).results) == len(TITLES)
        assert time.monotonic() - started > 0.5
        assert slow.result().status_code == 200


def test_langchain(address, expected):
    """LangChain's `CohereRerank` reorders documents, and adds the scores to their metadata."""
    rerank = pytest.importorskip("langchain_cohere", reason="the extra `clients` is not installed").CohereRerank
    from langchain_core.documents import Document

    compressor = rerank(cohere_api_key=API_KEY, base_url=address, model="rerank-v3.5", top_n=3)
    documents = [Document(title, metadata={"place": place}) for place, title in enumerate(TITLES)]
    ranked = compressor.compress_documents(documents, QUERY)
    assert [(document.metadata["place"], document.metadata["relevance_score"]) for document in ranked] == expected[:3]
    by_name = compressor.rerank([{"name": title} for title in TITLES], QUERY, rank_fields=["name"], top_n=None)
    assert by_name[0]["index"] == expected[0][0]


def test_haystack(address, expected):
    """Haystack's `CohereRanker` reorders documents, and gives them their scores."""
    pytest.importorskip(
        "haystack_integrations.components.rankers.cohere", reason="the extra `clients` is not installed"
    )
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker

    ranker = CohereRanker(api_key=Secret.from_token(API_KEY), api_base_url=address, top_k=4)
    ranked = ranker.run(QUERY, [Document(content=title) for title in TITLES])["documents"]
    assert [(TITLES.index(document.content), document.score) for document in ranked] == expected[:4]


def test_llama_index(address, expected):
    """LlamaIndex's `CohereRerank` reorders nodes, and gives them their scores."""
    module = pytest.importorskip(
        "llama_index.postprocessor.cohere_rerank", reason="the extra `clients` is not installed"
    )
    from llama_index.core.schema import NodeWithScore, TextNode

    postprocessor = module.CohereRerank(api_key=API_KEY, base_url=address, top_n=2)
    nodes = [NodeWithScore(node=TextNode(text=title), score=1.0) for title in TITLES]
    ranked = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    assert [(TITLES.index(node.text), node.score) for node in ranked] == expected[:2]
