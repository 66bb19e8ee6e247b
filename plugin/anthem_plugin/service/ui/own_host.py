"""Refuses requests that reached the page under a foreign name.

A web site whose name resolves to this machine (DNS rebinding) would otherwise read the index through the browser of a
visitor: for the browser, site and page have the same origin.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from anthem_plugin.service.models import ErrorResponse
from anthem_plugin.service.ui.page_files import PAGE_HEADERS, PAGE_PATH

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

LOCAL_NAME = "localhost"
_SHOWN_CHARACTERS = 80


class OwnHostGuard:
    """ASGI middleware that refuses requests to what reads the index, unless `is_own_host` accepts their Host header.

    Other endpoints are left alone: they read no index.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with status 403 and a sentence, or pass the request on."""
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" and _reads_index(scope["path"]) else None
        if host is None or is_own_host(host, self._names):
            await self._app(scope, receive, send)
            return
        sentence = (
            f"The page does not answer under the name {host[:_SHOWN_CHARACTERS]!r}; expected localhost, an IP address "
            "or the name in --host. Open one of these, or protect the service with --api-keys or --certificate."
        )
        await JSONResponse(ErrorResponse(detail=sentence).model_dump(), 403, PAGE_HEADERS)(scope, receive, send)


def is_own_host(header: str, names: Collection[str]) -> bool:
    """Whether a Host header is an IP address, localhost, a name below it, or one of `names`, with or without a port.

    A foreign site can lead a browser here only by a name of its own, so every address is accepted.
    """
    host = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
    host = host.removesuffix(".").lower()
    with suppress(ValueError):
        return bool(ip_address(host.removeprefix("[").removesuffix("]")))
    return host == LOCAL_NAME or host.endswith(f".{LOCAL_NAME}") or host in {name.lower() for name in names}


def _reads_index(path: str) -> bool:
    return path in (PAGE_PATH, "/explain") or path.startswith(f"{PAGE_PATH}/")
