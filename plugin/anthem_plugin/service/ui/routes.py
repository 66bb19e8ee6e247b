"""`GET /ui`, the page, and the endpoints that only it calls: `/ui/settings`, `/ui/search` and `/ui/map`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from anthem_core.errors import ClusterError, DataError
from anthem_plugin.search.disk_map import MAX_MAP_PRODUCTS
from anthem_plugin.service.context import ServiceContext, log_texts
from anthem_plugin.service.models import RequestModel, StrictText, json_response, unprocessable
from anthem_plugin.service.ui.page_files import PAGE_HEADERS, PAGE_PATH, PageFile, read_page_files
from anthem_plugin.service.ui.page_search import SearchPage

BAD_GATEWAY = 502
CLIENT_CLOSED_REQUEST = 499  # nobody receives it
MAX_SEARCHES = 2  # at a time: on a slow cluster, those of one page would keep the threads of all endpoints
ANSWER_HEADERS = PAGE_HEADERS | {"Cache-Control": "no-store"}  # answers show products of the index


class PageSearchRequest(RequestModel):
    """A query that was typed into the page."""

    query: StrictText = Field(description="Query text, as typed.")


class PageMapRequest(RequestModel):
    """A query, and the products of the page to show on its map."""

    query: StrictText = Field(description="Query text, as typed.")
    texts: Annotated[dict[StrictText, StrictText], Field(max_length=MAX_MAP_PRODUCTS)] = Field(
        description="Text of each product by its id."
    )


def routes(context: ServiceContext, page: SearchPage) -> APIRouter:
    """Define the page and its endpoints."""
    router, slots = APIRouter(include_in_schema=False), CapacityLimiter(MAX_SEARCHES)
    for file in read_page_files():
        router.add_api_route(file.path, _send_file(file), methods=["GET", "HEAD"])
    router.add_api_route(f"{PAGE_PATH}/", _redirect_to_page, methods=["GET", "HEAD"])

    @router.get(f"{PAGE_PATH}/settings")
    def settings() -> Response:
        """Say which index the page searches."""
        with _cluster_answers():
            return _answer(page.settings())

    @router.post(f"{PAGE_PATH}/search")
    async def search(request: PageSearchRequest, connection: Request) -> Response:
        """Search the index, and rerank what was found."""
        context.check_length("query", request.query)
        log_texts(request.query)
        async with slots:
            if await connection.is_disconnected():  # the page has asked for what was typed since
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            with _cluster_answers():
                return _answer(await run_in_threadpool(page.search, request.query))

    @router.post(f"{PAGE_PATH}/map")
    def draw_map(request: PageMapRequest) -> Response:
        """Draw the map of a query and of products."""
        for text in (request.query, *request.texts.values()):
            context.check_length("query and texts", text)
        try:
            return _answer(page.draw_map(request.query, request.texts))
        except DataError as error:
            raise unprocessable(str(error)) from error

    return router


def _send_file(file: PageFile) -> Callable[[], Response]:
    def send() -> Response:
        return Response(file.content, media_type=file.media_type, headers=PAGE_HEADERS)

    return send


def _redirect_to_page() -> Response:
    """To `/ui`, relative because a reverse proxy may serve the page below another path."""
    return Response(status_code=308, headers=PAGE_HEADERS | {"Location": f"..{PAGE_PATH}"})


def _answer(content: object) -> Response:
    response = json_response(content)
    response.headers.update(ANSWER_HEADERS)
    return response


@contextmanager
def _cluster_answers() -> Iterator[None]:
    """Answer with status 502 and a sentence if the cluster does not answer or refuses."""
    try:
        yield
    except ClusterError as error:
        raise HTTPException(BAD_GATEWAY, str(error), ANSWER_HEADERS) from error
