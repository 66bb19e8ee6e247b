"""Configures and runs uvicorn: without an access log, with TLS if there is a certificate, with a graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

import uvicorn

from anthem_core.errors import DataError
from anthem_plugin.service.context import text_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from socket import socket

    from starlette.types import ASGIApp

# A request that arrives while the server closes an idle connection is lost. Clients must close first: httpx keeps
# connections for 5 s, as long as uvicorn's default, load balancers for 60 s, and Go for 90 s.
KEEP_ALIVE_SECONDS = 120
SHUTDOWN_GRACE_SECONDS = 5  # for requests in progress at shutdown; Docker kills a container after 10
DRAIN_SECONDS = 0.5  # before that, for the next request of clients that keep their connection
_CLOSE_HEADER = (b"connection", b"close")


class AnthemServer(uvicorn.Server):
    """A server that calls back with its port once it listens."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Bind the port, then call back."""
        await super().startup(sockets)
        if self.started:
            self._on_listening(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop listening, and close each connection after its next response, so that no request meets a closed one."""
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE_HEADER]
        if self.server_state.connections:
            await asyncio.sleep(DRAIN_SECONDS)
        await super().shutdown(sockets)


def build_uvicorn_config(
    app: ASGIApp, host: str, port: int, certificate: Path | None = None, private_key: Path | None = None
) -> uvicorn.Config:
    """Build the configuration of the server and load its certificate.

    Raises:
        DataError: Certificate or private key cannot be used.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,  # it would contain query strings
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        headers=[("Keep-Alive", f"timeout={KEEP_ALIVE_SECONDS - 5}")],  # read by clients that keep connections for long
        timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
    )
    try:
        config.load()
    except ssl.SSLError as error:
        raise DataError(
            f"{certificate} and {private_key or 'the private key in it'} do not form a valid pair ({error.reason}). "
            "Expected a certificate chain in PEM and its private key."
        ) from error
    return config


def enable_text_log() -> None:
    """Write the texts of requests to the log, on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    text_logger.addHandler(handler)
    text_logger.setLevel(logging.INFO)
