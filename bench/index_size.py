"""Bytes that a product takes in an index for each of the model's values: trigrams, vector, both.

python bench/index_size.py --data ../shared/data/home_depot
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.beir import read_dataset
from anthem_core.console import handle_errors, json_option, print_result
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.opensearch.connection import connect
from anthem_evaluation.measure import describe_machine
from anthem_ingest.actions import ProductDocument
from anthem_ingest.ingest import IngestOptions, load_documents
from anthem_sandbox.node import cluster_for_tests

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from anthem_core.opensearch.schema import ModelSignal

SIZE_INDEX = "anthem-size"
MEASURED_VALUES: dict[str, tuple[ModelSignal, ...]] = {
    "trigrams": ("attention",),
    "vector": ("containment",),
    "both": ("containment", "attention"),
}
BATCH_SIZE = 1000
INDEX_CODECS = ("default", "best_compression")


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="BEIR folder with products.",
)
@click.option("--bundle", "bundle_name", default="general", show_default=True, help="Folder or name of a bundle.")
@click.option("--products", type=click.IntRange(1), default=10_000, show_default=True, help="Number of products.")
@json_option
@handle_errors
def main(*, data: Path, bundle_name: str, products: int, as_json: bool) -> None:
    """Measure the growth of an index per product, after a merge to one segment, for both codecs.

    Example: python bench/index_size.py --data ../shared/data/home_depot
    """
    encoder = Encoder(load_bundle(bundle_name))
    selected = list(read_dataset(data).products.values())[:products]
    documents = [ProductDocument(product.id, {"title": product.title}) for product in selected]
    with cluster_for_tests() as url, closing(connect(url)) as cluster:
        sizes = {codec: measure_growth(cluster, documents, encoder, codec) for codec in INDEX_CODECS}
    lines = [
        f"{codec}: {', '.join(f'{name} {size}' for name, size in by_value.items())}"
        for codec, by_value in sizes.items()
    ]
    summary = "\n".join([f"bytes per product, {len(documents)} products of {data.name}", *lines, describe_machine()])
    print_result({"machine": describe_machine(), "bytes": sizes}, summary, as_json=as_json)


def measure_growth(
    cluster: OpenSearch, documents: list[ProductDocument], encoder: Encoder, codec: str
) -> dict[str, int]:
    """Bytes per product by kind of value, model id and text hash included."""
    plain = _store_bytes(cluster, documents, encoder, codec, None)
    return {
        name: round((_store_bytes(cluster, documents, encoder, codec, signals) - plain) / len(documents))
        for name, signals in MEASURED_VALUES.items()
    }


def _store_bytes(
    cluster: OpenSearch,
    documents: list[ProductDocument],
    encoder: Encoder,
    codec: str,
    signals: tuple[ModelSignal, ...] | None,
) -> int:
    """Size of an index of these products in bytes; without the model's values if `signals` is None."""
    cluster.indices.delete(index=SIZE_INDEX, ignore_unavailable=True)
    settings = {"number_of_shards": 1, "number_of_replicas": 0, "codec": codec}
    mappings = {"properties": {"title": {"type": "text", "analyzer": "english"}}}
    cluster.indices.create(index=SIZE_INDEX, body={"settings": settings, "mappings": mappings})
    try:
        if signals is None:
            _write_plain(cluster, documents)
        else:  # whole products: after updates an index keeps the former versions for a while
            load_documents(cluster, SIZE_INDEX, documents, encoder, options=IngestOptions(signals=signals))
        cluster.indices.forcemerge(index=SIZE_INDEX, max_num_segments=1, request_timeout=600)
        cluster.indices.flush(index=SIZE_INDEX)
        cluster.indices.refresh(index=SIZE_INDEX)
        # Not the store's size, which counts the merged segments as long as their files are kept.
        (shard,) = cluster.indices.segments(index=SIZE_INDEX)["indices"][SIZE_INDEX]["shards"]["0"]
        return sum(int(segment["size_in_bytes"]) for segment in shard["segments"].values())
    finally:
        cluster.indices.delete(index=SIZE_INDEX)


def _write_plain(cluster: OpenSearch, documents: list[ProductDocument]) -> None:
    for start in range(0, len(documents), BATCH_SIZE):
        batch = documents[start : start + BATCH_SIZE]
        cluster.bulk(
            index=SIZE_INDEX,
            body=[line for document in batch for line in ({"index": {"_id": document.id}}, document.source)],
        )
    cluster.indices.refresh(index=SIZE_INDEX)


if __name__ == "__main__":
    main()
