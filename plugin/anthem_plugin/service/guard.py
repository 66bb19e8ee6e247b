"""Checks every request before it reaches an endpoint: API key, size, concurrency and time-out; records metrics.

The libraries have no equivalent. FastAPI's security classes check a key only after routing and after the body was read.
uvicorn's `limit_concurrency` answers `/health` and `/metrics` with 503 too, in plain text; its time-outs apply to idle
connections, and `h11_max_incomplete_event_size` limits headers, not bodies.
"""

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

PUBLIC_PATHS = frozenset({"/health", "/ready", "/docs", "/openapi.json"})  # need no key: they reveal nothing protected
UNLIMITED_PATHS = PUBLIC_PATHS | {"/metrics"}  # must answer even if the service is at its limit

KEY_REQUIRED = "An API key is required: Authorization: Bearer KEY."
WRONG_KEY = "The API key is wrong; expected one of this service: Authorization: Bearer KEY."
RETRY_HEADERS = {"Retry-After": "1"}  # seconds

_log = logging.getLogger("uvicorn.error")


class RequestGuard:
    """ASGI middleware that rejects requests without a valid key and limits size, concurrency and time of the others."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServiceSettings,
        metrics: ServiceMetrics,
        public_paths: frozenset[str] = PUBLIC_PATHS,
    ) -> None:
        self._app = app
        self._public_paths = public_paths
        self._settings = settings
        self._metrics = metrics
        self._keys = [key.encode() for key in settings.api_keys]
        self._in_progress = 0

    @property
    def is_full(self) -> bool:
        """Whether the maximum number of requests is in progress."""
        return self._in_progress >= self._settings.max_concurrency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["guard"], sender, started = self, _ResponseSender(send), time.perf_counter()
        try:
            await self._answer(scope, receive, sender)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, sender.status).inc()
            self._metrics.durations.labels(path).observe(time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, sender: "_ResponseSender") -> None:
        path = scope["path"]
        if path not in self._public_paths and not self._has_valid_key(scope["headers"]):
            sentence = WRONG_KEY if _presented_key(scope["headers"]) else KEY_REQUIRED
            await _error_response(401, sentence, {"WWW-Authenticate": "Bearer"})(scope, receive, sender)
        elif path in UNLIMITED_PATHS:
            await self._app(scope, receive, sender)
        elif self.is_full:
            sentence = f"{self._in_progress} requests are in progress; try again in a moment."
            await _error_response(503, sentence, RETRY_HEADERS)(scope, receive, sender)
        else:
            await self._answer_within_limits(scope, receive, sender)

    def _has_valid_key(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        presented = _presented_key(headers)
        return not self._keys or any(compare_digest(presented, valid) for valid in self._keys)

    async def _answer_within_limits(self, scope: Scope, receive: Receive, sender: "_ResponseSender") -> None:
        """Answer before the time-out. Work that a thread continues afterwards counts as in progress until it ends."""
        inner, seconds = _ResponseSender(sender), self._settings.timeout_seconds
        receive_body = _receive_up_to(_receive_before_timeout(receive, inner, seconds), self._settings.max_bytes)
        task = asyncio.ensure_future(self._app(scope, receive_body, inner))
        self._count(1)
        task.add_done_callback(lambda _: self._count(-1))
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done and inner.status:
            await asyncio.wait({task})  # the response has already begun
        error = task.exception() if task.done() else None
        inner.closed = not inner.status
        if error is not None:
            # The message of an exception may contain a text of the request, so only its type and place are logged.
            place = traceback.extract_tb(error.__traceback__)[-1]
            _log.error("%s in %s, line %s", type(error).__name__, place.filename, place.lineno)
        if inner.closed:
            response = _error_response(500, "The service failed.") if error else _timeout_response(seconds)
            await response(scope, receive, sender)

    def _count(self, change: int) -> None:
        self._in_progress += change
        self._metrics.in_progress.set(self._in_progress)


def _presented_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The key after `Bearer` (in any case), or an empty string if there is none."""
    presented = next((value for name, value in headers if name == b"authorization"), b"")
    scheme, _, key = presented.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


class _ResponseSender:
    """Sends a response and remembers its status once it has begun; after `closed` it drops all messages."""

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


def _receive_before_timeout(receive: Receive, sender: _ResponseSender, seconds: float) -> Receive:
    """Pass on the messages of a request until the time-out, then report a disconnect and close the sender."""
    deadline = asyncio.get_running_loop().time() + seconds

    async def receive_message() -> Message:
        try:
            async with asyncio.timeout_at(deadline):
                return await receive()
        except TimeoutError:
            sender.closed = True
            return {"type": "http.disconnect"}

    return receive_message


def _receive_up_to(receive: Receive, max_bytes: int) -> Receive:
    """Pass on the messages of a request until its body exceeds `max_bytes`, then raise an HTTPException."""
    received_bytes = 0

    async def receive_message() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > max_bytes:
            raise HTTPException(413, f"The body has more than {max_bytes} bytes; send fewer documents per request.")
        return message

    return receive_message


def _timeout_response(seconds: float) -> JSONResponse:
    return _error_response(503, f"The request was not read and answered within {seconds:g} s.", RETRY_HEADERS)


def _error_response(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(ErrorResponse(detail=sentence).model_dump(), status, headers)
