"""`anthem serve`: the HTTP service."""

from __future__ import annotations

import signal
import sys
from contextlib import closing, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import handle_errors, json_option, print_result
from anthem_core.errors import AnthemError, DataError
from anthem_plugin.service.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.decorators import FC

    from anthem_plugin.service.server import AnthemServer

_EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _limit_option(flag: str, setting: str, kind: click.IntRange | click.FloatRange, says: str) -> Callable[[FC], FC]:
    return click.option(
        flag, setting, type=kind, default=getattr(ServiceSettings, setting), show_default=True, help=says
    )


@click.command()
@click.option(
    "--bundle", default="general", show_default=True, help="Folder of a bundle, or the name of one that ships."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; on another give --api-keys, or all who reach it may ask.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--api-keys", type=_EXISTING_FILE, help="File of keys, one a line; callers show one: Authorization: Bearer KEY."
)
@click.option("--certificate", type=_EXISTING_FILE, help="Certificate chain in PEM, to be asked by HTTPS.")
@click.option("--private-key", type=_EXISTING_FILE, help="Private key of the certificate, in PEM.")
@_limit_option("--concurrency", "concurrency", click.IntRange(1), "Requests at once; more get 503.")
@_limit_option("--timeout", "timeout", click.FloatRange(0.001), "Seconds to read and answer one.")
@_limit_option("--cache", "cache", click.IntRange(0), "Encoded queries that are kept.")
@_limit_option("--max-documents", "documents", click.IntRange(1), "Documents in one request.")
@_limit_option(
    "--max-characters",
    "characters",
    click.IntRange(1),
    "Characters of one text; more are passed over by the reranker, refused by the encoders.",
)
@_limit_option("--max-bytes", "bytes", click.IntRange(1), "Bytes of one request.")
@click.option("--log-texts", is_flag=True, help="Log queries and products; without it no text is ever logged.")
@json_option
@handle_errors
def serve(  # noqa: PLR0913 (an argument an option)
    *,
    bundle: str,
    host: str,
    port: int,
    api_keys: Path | None,
    certificate: Path | None,
    private_key: Path | None,
    log_texts: bool,
    as_json: bool,
    **limits: Any,  # noqa: ANN401 (an option each)
) -> None:
    """Serve reranker, encoders and rewriter over HTTP; /docs describes the endpoints.

    The script that rewritten searches call is stored in the cluster, OPENSEARCH_URL or the local node, at the start; a
    cluster that cannot be had is reported and does not stop the service. Exit codes: 0 ended by SIGTERM or Ctrl-C,
    1 the address cannot be had, 3 the bundle cannot be used, 4 the keys or the certificate cannot be used.

    \b
    Example:
      anthem serve
      curl http://127.0.0.1:8000/encode/query --json '{"text": "fire tv"}'
      anthem serve --host 0.0.0.0 --api-keys keys.txt --certificate tls.pem --private-key tls.key
    """
    # uvicorn ends gracefully, then raises the signal again: to be told to end is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if private_key and not certificate:
        raise click.UsageError("--private-key needs --certificate; without both the service speaks plain HTTP.")
    from anthem_plugin.service.server import enable_text_log

    settings = ServiceSettings(read_api_keys(api_keys) if api_keys else (), **limits)
    server = _build_server(bundle, settings, (host, port), (certificate, private_key), as_json=as_json)
    _store_script()
    if log_texts:
        enable_text_log()
    with suppress(KeyboardInterrupt, SystemExit):
        server.run()
    if not server.started:
        raise AnthemError(f"The service cannot listen on {host}, port {port}, as said above; give another --port.")


def _build_server(
    bundle: str,
    settings: ServiceSettings,
    address: tuple[str, int],
    tls: tuple[Path | None, Path | None],
    *,
    as_json: bool,
) -> AnthemServer:
    from anthem_core.encoding.bundle import load_bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_plugin.service.app import create_app
    from anthem_plugin.service.server import AnthemServer, build_uvicorn_config

    app, (host, port) = create_app(Encoder(loaded := load_bundle(bundle)), settings), address

    def listening(taken: int) -> None:
        said = {"host": host, "port": taken, "model": loaded.model}
        print_result(said, f"Serving model {loaded.model} on {host}, port {taken}", as_json=as_json)
        if not settings.keys and not _is_loopback(host):
            click.echo(f"Without --api-keys whoever reaches {host} may use the service.", err=True)

    return AnthemServer(build_uvicorn_config(app, host, port, *tls), listening)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def read_api_keys(path: Path) -> tuple[str, ...]:
    """Keys of a file, one a line, blank lines left out.

    Raises:
        DataError: There is none, or one that a header cannot carry.
    """
    keys = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not keys or not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise DataError(f"{path} holds {len(keys)} keys; one a line was wanted, of letters, digits and signs of ASCII.")
    return keys


def _store_script() -> None:
    from anthem_core.opensearch.connection import cluster_errors, connect
    from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id

    try:
        with closing(connect(timeout=5)) as cluster, cluster_errors():
            cluster.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    except AnthemError as error:
        click.echo(f"The script {script_id()} that rewritten searches call was not stored: {error}", err=True)
