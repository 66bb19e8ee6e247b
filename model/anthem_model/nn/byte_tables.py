"""Tables in bytes, the precision of a bundle: rows of whole numbers from −127 to 127, and a scale for each row."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_CODE = 127
MIN_SCALE = 2.0**-14  # below it, float16 is so coarse that a decoded table could get another scale


class ByteTable(NamedTuple):
    """Rows `codes (V,D)` int8 times `scales (V,1)` float16."""

    codes: Tensor
    scales: Tensor

    def decode(self) -> Tensor:
        """The table in float32, `(V,D)`."""
        return self.codes.float() * self.scales.float()


def encode_table(table: Tensor) -> ByteTable:
    """Round every number of a table `(V,D)` to a multiple of its row's scale, the largest magnitude divided by 127.

    Encoding a decoded table gives the same codes and scales.
    """
    scales = (table.abs().amax(dim=1, keepdim=True) / MAX_CODE).clamp_min(MIN_SCALE).half()
    codes = torch.round(table / scales.float()).clamp(-MAX_CODE, MAX_CODE)
    return ByteTable(codes.to(torch.int8), scales)
