"""What stands before all endpoints: keys, limits of bytes and of requests at once, a time-out, and what is measured."""

import asyncio
import logging
import time
import traceback
from collections.abc import Iterable
from hmac import compare_digest

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anthem_plugin.service.metrics import ServiceMetrics
from anthem_plugin.service.models import ErrorResponse
from anthem_plugin.service.settings import ServiceSettings

PUBLIC_PATHS = frozenset({"/health", "/ready", "/docs", "/openapi.json"})  # these tell nothing that a key protects
UNLIMITED_PATHS = PUBLIC_PATHS | {"/metrics"}  # and a service at its limit must still say so

_log = logging.getLogger("uvicorn.error")


class RequestGuard:
    """An application around another that lets through only what may be answered, and bounds how long that takes."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: ServiceMetrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._keys = [f"Bearer {key}".encode() for key in settings.keys]
        self._busy = 0

    @property
    def full(self) -> bool:
        """Whether as many requests are under way as may be."""
        return self._busy >= self._settings.concurrency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["guard"], answer, started = self, _ResponseSender(send), time.perf_counter()
        try:
            await self._answer(scope, receive, answer)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, answer.status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_ResponseSender") -> None:
        path = scope["path"]
        if path not in PUBLIC_PATHS and not self._admits(scope["headers"]):
            refusal = _error_response(
                401, "A key is needed: Authorization: Bearer KEY.", {"WWW-Authenticate": "Bearer"}
            )
            await refusal(scope, receive, answer)
        elif path in UNLIMITED_PATHS:
            await self._app(scope, receive, answer)
        elif self.full:
            await _error_response(
                503, f"{self._busy} requests are under way; ask again in a moment.", {"Retry-After": "1"}
            )(scope, receive, answer)
        else:
            await self._bounded(scope, receive, answer)

    def _admits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        shown = next((value for name, value in headers if name == b"authorization"), b"")
        return not self._keys or any(compare_digest(shown, key) for key in self._keys)

    async def _bounded(self, scope: Scope, receive: Receive, answer: "_ResponseSender") -> None:
        """Answer within the time-out; what a thread still computes then counts as under way until it ends."""
        inner, seconds = _ResponseSender(answer), self._settings.timeout
        body = _receive_up_to(_receive_before_timeout(receive, inner, seconds), self._settings.bytes)
        task = asyncio.ensure_future(self._app(scope, body, inner))
        self._count(1)
        task.add_done_callback(lambda _: self._count(-1))
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done and inner.status:
            await asyncio.wait({task})  # the answer is on its way
        fault = task.exception() if task.done() else None
        inner.closed = not inner.status
        if fault is not None:
            # The message of an exception may hold a text of the request: the log names kind and place alone.
            place = traceback.extract_tb(fault.__traceback__)[-1]
            _log.error("%s in %s, line %s", type(fault).__name__, place.filename, place.lineno)
        if inner.closed:
            refusal = _error_response(500, "The service failed.") if fault else _timeout_response(seconds)
            await refusal(scope, receive, answer)

    def _count(self, step: int) -> None:
        self._busy += step
        self._metrics.busy.set(self._busy)


class _ResponseSender:
    """Where an answer goes, with its status once it has begun; a closed one takes nothing more."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.closed = False

    async def __call__(self, message: Message) -> None:
        if self.closed:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def _receive_before_timeout(receive: Receive, answer: _ResponseSender, seconds: float) -> Receive:
    """Messages of a request that come in time; then it reads as if the caller had gone, and the answer is closed."""
    deadline = asyncio.get_running_loop().time() + seconds

    async def message() -> Message:
        try:
            async with asyncio.timeout_at(deadline):
                return await receive()
        except TimeoutError:
            answer.closed = True
            return {"type": "http.disconnect"}

    return message


def _receive_up_to(receive: Receive, most: int) -> Receive:
    """Messages of a request, as long as its body has no more bytes than it may."""
    read = 0

    async def message() -> Message:
        nonlocal read
        found = await receive()
        read += len(found.get("body", b""))
        if read > most:
            raise HTTPException(413, f"The body has more than {most} bytes; ask about fewer documents at once.")
        return found

    return message


def _timeout_response(seconds: float) -> JSONResponse:
    return _error_response(503, f"The request was not read and answered within {seconds:g} s.")


def _error_response(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(ErrorResponse(detail=sentence).model_dump(), status, headers)
