"""Products that an alias hides: reads through one with a filter or a search routing leave out the rest of its index.

Commands change only the products that such an alias shows, and say how many others the index has. What concerns the
whole index, such as its mapping and the routing of its products, is looked up by the name of the index itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.console import count_of
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import MATCH_ALL
from anthem_ingest import index_io
from anthem_ingest.mapping import parse_single_index

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_HIDING_OPTIONS = {"filter": "filter", "search_routing": "search routing"}  # of an alias, and what they are called


@dataclass(frozen=True, slots=True)
class HiddenProducts:
    """Number of products of an index that an alias hides, and the options of the alias that hide them."""

    alias: str
    index: str
    number: int
    causes: tuple[str, ...]

    def describe(self, outcome: str, command: str) -> str:
        """How many products are hidden and why, what becomes of them, and the command that includes them."""
        causes = " and ".join(f"a {cause}" for cause in self.causes)
        return (
            f"Alias '{self.alias}' has {causes} and hides {count_of(self.number)} of index '{self.index}', {outcome}. "
            f"To include them, name the index: {command} {self.index}"
        )


@cluster_errors()
def find_hidden_products(client: OpenSearch, name: str) -> HiddenProducts | None:
    """The products that a name hides if it is an alias of one index; None if it hides none.

    Raises:
        ClusterError: The name is an alias of several indices, or the cluster refuses.
    """
    response = index_io.describe_index(client, name)
    if not response:
        return None
    index = parse_single_index(response, name)
    causes = tuple(text for option, text in _HIDING_OPTIONS.items() if index.aliases.get(name, {}).get(option))
    if not causes:
        return None
    total, shown = (index_io.count_products(client, target, MATCH_ALL) for target in (index.name, name))
    return HiddenProducts(name, index.name, total - shown, causes) if total > shown else None
