"""The entities of titles: their ids and weights, as the attention score reads them and as an index stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.encoding.packed_titles import IntArray, pack_titles, unpack_titles

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class TitleEntities:
    """Entities of N titles, one title after the other: `ids (E,)`, `weights (E,)` and `lengths (N,)`, E their sum.

    A weight is the entity's share of the title's attention, in fifteenths of the largest one; a title without letters
    or digits has length 0.
    """

    ids: IntArray
    weights: IntArray
    lengths: IntArray

    def pack(self) -> list[bytes]:
        """Each title as an index stores it, its entities by ascending id (`packed_titles`)."""
        titles = np.repeat(np.arange(len(self.lengths)), self.lengths)
        order = np.lexsort((self.weights, self.ids, titles))
        return pack_titles(self.ids[order], self.weights[order], self.lengths)

    @classmethod
    def unpack(cls, titles: Sequence[bytes], *, skip_malformed: bool = False) -> TitleEntities:
        """Titles that `pack` returned; with `skip_malformed`, a malformed one has no entities.

        Raises:
            ValueError: A title is malformed, and not skipped.
        """
        ids, weights, lengths, malformed = unpack_titles(titles)
        if malformed.any() and not skip_malformed:
            title = titles[int(np.flatnonzero(malformed)[0])]
            raise ValueError(
                f"a title has the bytes {title[:12].hex(' ')}{' …' if len(title) > 12 else ''}; expected the number of "
                "its entities, their weights and the gaps between their ids. Ingest it again."
            )
        return cls(ids, weights, lengths)
