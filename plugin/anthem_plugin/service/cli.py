"""`anthem serve`: runs the HTTP service. Only `serve` itself imports FastAPI and uvicorn, so its help needs neither."""

from __future__ import annotations

import signal
import sys
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import (
    NON_EMPTY_TEXT,
    FiniteFloatRange,
    handle_errors,
    json_option,
    print_result,
    url_option,
)
from anthem_core.errors import AnthemError, DataError, require_extra
from anthem_plugin.service.script_storage import ScriptKeeper
from anthem_plugin.service.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.decorators import FC

    from anthem_plugin.service.server import AnthemServer
    from anthem_plugin.service.ui.page_search import PageTarget

_EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _limit_option(
    flag: str, setting: str, kind: click.IntRange | FiniteFloatRange, description: str
) -> Callable[[FC], FC]:
    default = getattr(ServiceSettings, setting)
    return click.option(flag, setting, type=kind, default=default, show_default=True, help=description)


@click.command()
@click.option("--bundle", default="general", show_default=True, help="Folder of a bundle, or name of a shipped one.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. If others can reach it, set --api-keys too.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 chooses a free port."
)
@click.option(
    "--api-keys",
    type=_EXISTING_FILE,
    help="File of API keys, one per line. Callers must send one: Authorization: Bearer KEY.",
)
@click.option("--certificate", type=_EXISTING_FILE, help="Certificate chain in PEM; the service then speaks HTTPS.")
@click.option("--private-key", type=_EXISTING_FILE, help="Private key of the certificate, in PEM.")
@_limit_option(
    "--concurrency", "max_concurrency", click.IntRange(1), "Maximum number of simultaneous requests; others get 503."
)
@_limit_option("--timeout", "timeout_seconds", FiniteFloatRange(0.001), "Seconds to read and answer one request.")
@_limit_option("--cache", "query_cache_size", click.IntRange(0), "Encoded queries to cache, in at most 32 MB.")
@_limit_option("--max-documents", "max_documents", click.IntRange(1), "Maximum number of documents in a request.")
@_limit_option(
    "--max-characters",
    "max_characters",
    click.IntRange(1),
    "Maximum number of characters of a text; rerankers ignore the rest, encoders reject the request.",
)
@_limit_option("--max-bytes", "max_bytes", click.IntRange(1), "Maximum number of bytes in a request.")
@click.option("--log-texts", is_flag=True, help="Log queries and products. By default no text is logged.")
@url_option
@click.option("--ui", "with_page", is_flag=True, help="Serve a page at /ui that searches an index; requires --index.")
@click.option("--index", type=NON_EMPTY_TEXT, help="With --ui: the index that the page searches.")
@click.option(
    "--field",
    type=NON_EMPTY_TEXT,
    help="With --ui: text field to search and show; defaults to the first field that was ingested, or title.",
)
@json_option
@handle_errors
def serve(  # noqa: PLR0913 (one parameter per option)
    *,
    bundle: str,
    host: str,
    port: int,
    api_keys: Path | None,
    certificate: Path | None,
    private_key: Path | None,
    log_texts: bool,
    url: str | None,
    with_page: bool,
    index: str | None,
    field: str | None,
    as_json: bool,
    **limits: Any,  # noqa: ANN401 (one per option)
) -> None:
    """Serve the reranker, the encoders and the rewriter over HTTP; /docs describes the endpoints.

    At startup, and every five minutes, the service stores a script in the cluster, which rewritten searches call. If
    the cluster cannot be reached, it prints a warning and goes on. With --ui, a page at /ui searches an index, and
    shows what reranking changes. Exit codes: 0 stopped by SIGTERM or Ctrl-C, 1 cannot listen on the address, 3 the
    bundle cannot be used, 4 the API keys or the certificate cannot be used, 6 with --ui, no cluster is named and no
    local node runs, 9 the extra `serve` is not installed.

    \b
    Example:
      anthem serve
      curl http://127.0.0.1:8000/encode/query --json '{"text": "fire tv"}'
      anthem serve --host 0.0.0.0 --api-keys keys.txt --certificate tls.pem --private-key tls.key
      anthem serve --ui --index products
    """
    require_extra("serve", "fastapi", "uvicorn", "prometheus_client")
    if private_key and not certificate:
        raise click.UsageError("--private-key requires --certificate; without both the service speaks plain HTTP.")
    # The certificate of a foreign name would not be ours, so with HTTPS every name that reaches the page is our own.
    names = None if certificate else (host,)
    with (
        _exit_on_sigterm(),
        _open_page(url, index, field, names, is_wanted=with_page) as page,
        ScriptKeeper(url) as keeper,
    ):
        from anthem_plugin.service.server import enable_text_log

        settings = ServiceSettings(read_api_keys(api_keys) if api_keys else (), **limits)
        server = _build_server(bundle, settings, (host, port), (certificate, private_key), page, as_json=as_json)
        keeper.wait()
        if log_texts:
            enable_text_log()
        _run_server(server, host, port)


def _run_server(server: AnthemServer, host: str, port: int) -> None:
    with suppress(KeyboardInterrupt, SystemExit):
        server.run()
    if not server.started:
        raise AnthemError(
            f"The service cannot listen on {host}, port {port}: see the error above. Choose another --port."
        )


@contextmanager
def _open_page(
    url: str | None, index: str | None, field: str | None, names: tuple[str, ...] | None, *, is_wanted: bool
) -> Iterator[PageTarget | None]:
    """What the page searches, with a connection that is closed at the end; None without the page.

    Raises:
        click.UsageError: There is a page without an index, or options of the page without it.
    """
    if is_wanted and index is None:
        raise click.UsageError("--ui requires --index, the index that the page searches: --ui --index products")
    if not is_wanted and (index or field):
        raise click.UsageError("--index and --field are for the page; add --ui, or leave them out.")
    if index is None:
        yield None
        return
    from anthem_core.opensearch.connection import connect
    from anthem_plugin.service.ui.page_search import PAGE_TIMEOUT_SECONDS, PageTarget, find_refusal

    with closing(connect(url, timeout=PAGE_TIMEOUT_SECONDS, credentials=True)) as cluster:
        if refusal := find_refusal(cluster, index):
            click.echo(f"Warning: the page cannot search {index}. {refusal}", err=True)
        yield PageTarget(cluster, index, field, names)


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the command with exit code 0; the previous handler is restored afterwards.

    uvicorn shuts down gracefully and then raises the signal again, which by default would kill the process.
    """
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        # None means that the previous handler was not installed from Python.
        signal.signal(signal.SIGTERM, previous if previous is not None else signal.SIG_DFL)


def _build_server(
    bundle: str,
    settings: ServiceSettings,
    address: tuple[str, int],
    tls: tuple[Path | None, Path | None],
    page: PageTarget | None,
    *,
    as_json: bool,
) -> AnthemServer:
    from anthem_core.encoding.bundle import load_bundle
    from anthem_core.encoding.encoder import Encoder
    from anthem_plugin.service.app import create_app
    from anthem_plugin.service.memory import return_freed_memory
    from anthem_plugin.service.server import AnthemServer, build_uvicorn_config

    return_freed_memory()
    loaded, (host, port) = load_bundle(bundle), address
    app = create_app(Encoder(loaded), settings, page)

    def on_listening(bound_port: int) -> None:
        result = {"host": host, "port": bound_port, "model": loaded.model_id}
        text = f"Serving model {loaded.model_id} on {host}, port {bound_port}"
        if page:
            result["page"] = page_address(host, bound_port, is_secure=tls[0] is not None)
            text += f"\nThe page to try it: {result['page']}"
        print_result(result, text, as_json=as_json)
        if not settings.api_keys and not _is_loopback(host):
            click.echo(f"Warning: no --api-keys; anyone who can reach {host} can use the service.", err=True)

    return AnthemServer(build_uvicorn_config(app, host, port, *tls), on_listening)


def page_address(host: str, port: int, *, is_secure: bool = False) -> str:
    """Address of the page for a browser on this machine."""
    with suppress(ValueError):
        address = ip_address(host)
        host = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host  # noqa: S104 (any address)
        host = f"[{host}]" if address.version == 6 else host
    return f"http{'s' if is_secure else ''}://{host}:{port}/ui"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def read_api_keys(path: Path) -> tuple[str, ...]:
    """Read the API keys of a file, one per line; blank lines are ignored.

    Raises:
        DataError: The file contains no key, or a key with characters that an HTTP header cannot contain.
    """
    keys = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not keys:
        raise DataError(f"{path} contains no API keys. Expected one key per line.")
    for number, key in enumerate(keys, start=1):
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise DataError(
                f"{path}: key {number} of {len(keys)} has a character that an HTTP header cannot carry. Expected one "
                "key per line, of printable ASCII characters without spaces."
            )
    return keys
