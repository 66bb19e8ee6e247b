"""The entities of titles: their ids and weights, as the attention score reads them and as an index stores them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

IntArray: TypeAlias = npt.NDArray[np.integer]

MAX_STORED_ID = 2**16 - 1  # ids are stored in two bytes
MAX_WEIGHT = 255  # weights are stored in one byte
STORED_ENTITY = np.dtype([("id", "<u2"), ("weight", "u1")])  # three bytes


@dataclass(frozen=True, slots=True)
class TitleEntities:
    """Entities of N titles, one title after the other: `ids (E,)`, `weights (E,)` and `lengths (N,)`, E their sum.

    A weight is the entity's share of the title's attention, in 255ths of the largest one; a title without letters or
    digits has length 0.
    """

    ids: IntArray
    weights: IntArray
    lengths: IntArray

    def pack(self) -> list[bytes]:
        """Each title as an index stores it: three bytes an entity, by ascending id; the id is little-endian."""
        titles = np.repeat(np.arange(len(self.lengths)), self.lengths)
        order = np.lexsort((self.weights, self.ids, titles))
        stored = np.empty(len(order), STORED_ENTITY)
        stored["id"], stored["weight"] = self.ids[order], self.weights[order]
        ends = [0, *np.cumsum(self.lengths).tolist()]
        return [stored[start:end].tobytes() for start, end in pairwise(ends)]

    @classmethod
    def unpack(cls, titles: Sequence[bytes]) -> TitleEntities:
        """Titles that `pack` returned.

        Raises:
            ValueError: The number of bytes is no multiple of three.
        """
        for title in titles:
            if len(title) % STORED_ENTITY.itemsize:
                raise ValueError(f"a title has {len(title)} bytes; expected a multiple of {STORED_ENTITY.itemsize}")
        stored = np.frombuffer(b"".join(titles), STORED_ENTITY)
        lengths = np.array([len(title) // STORED_ENTITY.itemsize for title in titles], np.int64)
        return cls(stored["id"].astype(np.int64), stored["weight"], lengths)
