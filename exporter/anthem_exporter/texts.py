"""The texts on which parity is checked."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from anthem_core.beir import read_products
from anthem_core.catalogue import generate

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 1000


def parity_texts(corpus: Path | None = None) -> list[str]:
    """A thousand texts of a corpus file, or of the generated catalogue: queries and titles, in turn."""
    if corpus is not None:
        return [product.title for product in islice(read_products(corpus), COUNT)]
    catalogue = generate()
    titles = [product.title for product in islice(catalogue.products.values(), COUNT // 2)]
    return [text for pair in zip(catalogue.queries.values(), titles, strict=False) for text in pair]
