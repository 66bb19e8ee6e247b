"""Figures of matplotlib as bytes: texts in fonts that have their letters, and small PNGs."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import font_manager, rc_context
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from anthem_core.console import printable, stderr

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DOTS_PER_INCH = 160
MAX_PIXELS = 10_000  # of a side; matplotlib draws fewer than 65,536, and they take memory
PNG_COLOURS = 256  # of a palette: a third of the size of the same picture in true colour, with the same fills
# matplotlib's own font lacks Chinese, Indic and some other letters; of these, installed ones are used.
_FURTHER_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
    "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic", "Noto Sans Devanagari", "Noto Sans Arabic",
    "Noto Sans Hebrew", "Noto Sans Thai", "Nirmala UI", "Noto Emoji", "Segoe UI Symbol", "Arial Unicode MS",
)  # fmt: skip


def figure_style() -> AbstractContextManager[None]:
    """Settings under which figures are drawn, whatever the user's are; the letters of an SVG stay text.

    So a browser shows them in its fonts, and in their direction.
    """
    installed = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(name for name in _FURTHER_FONTS if name in installed)]
    return rc_context({"font.family": fonts, "text.usetex": False, "svg.fonttype": "none"})


def plain(text: str) -> str:
    """A text that matplotlib draws as it is: a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def figure_bytes(figure: Figure, kind: str, description: str) -> bytes:
    """The figure as `png` or `svg`; the description is its text alternative."""
    content = io.BytesIO()
    dots = min(DOTS_PER_INCH, MAX_PIXELS / max(figure.get_size_inches()))
    metadata = {"Description": printable(description)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="Glyph")
        figure.savefig(content, format=kind, dpi=dots, metadata=metadata if kind == "svg" else None)
    if kind == "svg":
        return content.getvalue()
    if any(str(warning.message).startswith("Glyph") for warning in caught):
        stderr.print("Some letters have no font here; the picture shows boxes. Use an SVG or the HTML page.")
    return _reduce_colours(content, metadata)


def _reduce_colours(picture: io.BytesIO, texts: dict[str, str]) -> bytes:
    """The same PNG with a palette of its most frequent colours, and with texts that describe it.

    Pillow's own palettes mix colours: fills vanish, and the colour of one text becomes that of another.
    """
    chunks, content = PngInfo(), io.BytesIO()
    for name, text in texts.items():
        chunks.add_text(name, text)
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, places, counts = np.unique(pixels, return_inverse=True, return_counts=True)
    kept = colours[np.argsort(-counts, kind="stable")[:PNG_COLOURS]]
    distances = ((_channels(colours)[:, None] - _channels(kept)[None]) ** 2).sum(-1)
    reduced = Image.fromarray(distances.argmin(-1)[places].reshape(pixels.shape).astype(np.uint8))
    reduced.putpalette(_channels(kept).astype(np.uint8).tobytes())
    reduced.save(content, format="png", optimize=True, pnginfo=chunks)
    return content.getvalue()


def _channels(colours: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Red, green and blue of colours, `(N,)` to `(N, 3)`."""
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.int64)
