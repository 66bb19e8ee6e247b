"""`anthem serve`: the HTTP service."""

from __future__ import annotations

import signal
import sys
from contextlib import closing, suppress

import click

from anthem_core.console import emit, ends_cleanly, json_option
from anthem_core.errors import AnthemError

GRACE = 5  # seconds for requests under way when the service is told to end; Docker kills after 10


@click.command()
@click.option("--bundle", required=True, help="Folder of a bundle, or the name of one that ships, such as general.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. There is no sign-in: whoever reaches it may use it.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes a free one."
)
@json_option
@ends_cleanly
def serve(bundle: str, host: str, port: int, *, as_json: bool) -> None:
    """Serve encoders and rewriter over HTTP; /docs describes the endpoints.

    The script that rewritten searches call is stored in the cluster, OPENSEARCH_URL or the local node, at the start; a
    cluster that cannot be had is reported and does not stop the service. Exit codes: 0 ended by SIGTERM or Ctrl-C,
    1 the address cannot be had, 3 the bundle cannot be used.

    \b
    Example:
      anthem serve --bundle general
      curl http://127.0.0.1:8000/encode/query --json '{"text": "fire tv"}'
    """
    # uvicorn ends gracefully, then raises the signal again: to be told to end is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    import uvicorn

    from anthem_core.bundle import load
    from anthem_core.encoder import Encoder
    from anthem_plugin.service.app import create_app

    app = create_app(Encoder(loaded := load(bundle)))
    _store_script()
    emit({"host": host, "port": port, "model": loaded.model}, f"Serving model {loaded.model}", as_json=as_json)
    # The access log would hold whatever a caller puts into a URL.
    server = uvicorn.Server(
        uvicorn.Config(app, host=host, port=port, access_log=False, ws="none", timeout_graceful_shutdown=GRACE)
    )
    with suppress(KeyboardInterrupt, SystemExit):
        server.run()
    if not server.started:
        raise AnthemError(f"The service cannot listen on {host}, port {port}, as said above; give another --port.")


def _store_script() -> None:
    from anthem_core.cluster import connect, explained
    from anthem_plugin.painless import CONTEXT, put_script_body, script_id

    try:
        with closing(connect(timeout=5)) as cluster, explained():
            cluster.put_script(id=script_id(), body=put_script_body(), context=CONTEXT)
    except AnthemError as error:
        click.echo(f"The script {script_id()} that rewritten searches call was not stored: {error}", err=True)
