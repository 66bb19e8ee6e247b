"""The command `anthem export`."""

from __future__ import annotations

from pathlib import Path

import click

from anthem_core.console import handle_errors, json_option, print_result, progress
from anthem_core.errors import require_extra
from anthem_core.output_files import bundle_files, check_output_files


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option("--corpus", type=click.Path(path_type=Path), help="Corpus file whose titles are used in the comparison.")
@json_option
@handle_errors
def export(checkpoint: Path, bundle: Path, corpus: Path | None, as_json: bool) -> None:
    """Export a checkpoint to a bundle of ONNX graphs.

    The graphs are compared with the torch model on a thousand texts; if they differ, nothing is written. This takes one
    to four minutes.

    \b
    Example:
        anthem export shop.pt bundles/shop
    """
    check_output_files({"BUNDLE": bundle_files(str(bundle))}, {"CHECKPOINT": checkpoint, "--corpus": corpus})
    require_extra("train", "torch", "geoopt", "bm25s", "Stemmer", "onnx", "onnxscript")
    from anthem_exporter.export import export_bundle
    from anthem_exporter.graphs import graph_modules
    from anthem_exporter.parity import count_comparisons, parity_texts
    from anthem_model.checkpoint import load_checkpoint

    trained = load_checkpoint(checkpoint)
    texts = parity_texts(corpus)
    with progress("comparing texts", count_comparisons(texts, graph_modules(trained.model))) as advance:
        written, report = export_bundle(trained, bundle, texts, advance)
    value = {"bundle": str(bundle), "model": written.model_id, "bytes": written.size_bytes, "parity": report.to_dict()}
    print_result(
        value, f"{report}\n{bundle}: model {written.model_id}, {written.size_bytes / 1e6:.1f} MB", as_json=as_json
    )
