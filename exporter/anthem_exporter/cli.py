"""`anthem export`: a checkpoint in, a bundle out, or an error that says where the graphs differ."""

from __future__ import annotations

from pathlib import Path

import click

from anthem_core.console import emit, ends_cleanly, err, json_option
from anthem_core.errors import require_extra


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option("--corpus", type=click.Path(path_type=Path), help="Check parity on the titles of this corpus file.")
@json_option
@ends_cleanly
def export(checkpoint: Path, bundle: Path, corpus: Path | None, as_json: bool) -> None:
    """Export a checkpoint to a bundle of ONNX graphs; fails, and writes nothing, when parity fails.

    It takes one to four minutes, most of them to compare both on a thousand texts.

    \b
    Example:
        anthem export shop.pt bundles/shop
    """
    require_extra("train", "torch", "geoopt", "onnx", "onnxscript")
    from anthem_exporter.export import export as write
    from anthem_exporter.texts import parity_texts
    from anthem_model.checkpoint import load

    trained = load(checkpoint)
    with err.status("exporting and checking parity"):
        written, report = write(trained, bundle, parity_texts(corpus))
    value = {"bundle": str(bundle), "model": written.model, "bytes": written.bytes, "parity": report.to_dict()}
    emit(value, f"{report}\n{bundle}: model {written.model}, {written.bytes / 1e6:.1f} MB", as_json=as_json)
