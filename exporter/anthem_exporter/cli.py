"""`anthem export`: a checkpoint in, a bundle out, or an error that says where the graphs differ."""

from __future__ import annotations

from pathlib import Path

import click

from anthem_core.console import handle_errors, json_option, print_result, stderr
from anthem_core.errors import require_extra


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option("--corpus", type=click.Path(path_type=Path), help="Check parity on the titles of this corpus file.")
@json_option
@handle_errors
def export(checkpoint: Path, bundle: Path, corpus: Path | None, as_json: bool) -> None:
    """Export a checkpoint to a bundle of ONNX graphs; fails, and writes nothing, when parity fails.

    It takes one to four minutes, most of them to compare both on a thousand texts.

    \b
    Example:
        anthem export shop.pt bundles/shop
    """
    require_extra("train", "torch", "geoopt", "onnx", "onnxscript")
    from anthem_exporter.export import export_bundle as write
    from anthem_exporter.parity import parity_texts
    from anthem_model.checkpoint import load_checkpoint

    trained = load_checkpoint(checkpoint)
    with stderr.status("exporting and checking parity"):
        written, report = write(trained, bundle, parity_texts(corpus))
    value = {"bundle": str(bundle), "model": written.model, "bytes": written.bytes, "parity": report.to_dict()}
    print_result(value, f"{report}\n{bundle}: model {written.model}, {written.bytes / 1e6:.1f} MB", as_json=as_json)
