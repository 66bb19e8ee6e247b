"""The texts on which parity is checked."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from anthem_core.beir import read_products
from anthem_core.catalogue import generate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 1000
SCRIPTS = (
    "Kühlschrank weiß",
    "लाल चाय की केतली",
    "赤い急須",
    "красный чайник",
    "إبريق شاي",
    "½ in. ™ №5",
    "👩‍🔧",
    "x" * 2000,
)


def parity_texts(corpus: Path | None = None) -> list[str]:
    """A thousand texts and more: odd scripts, titles of a corpus file as far as they go, then the generated catalogue.

    Raises:
        DataError: The corpus file cannot be read.
    """
    titles = (product.title for product in read_products(corpus)) if corpus is not None else iter(())
    return [*SCRIPTS, *islice(chain(titles, _generated()), COUNT)]


def _generated() -> Iterator[str]:
    """Queries and titles of the catalogue, in turn."""
    catalogue = generate()
    for query, product in zip(catalogue.queries.values(), catalogue.products.values(), strict=False):
        yield from (query, product.title)
