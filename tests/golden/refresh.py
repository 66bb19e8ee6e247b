"""Write tests/golden/general.json anew from the bundle that ships, after a new one: python tests/golden/refresh.py."""

from __future__ import annotations

import json
from pathlib import Path

from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.geometry.regions import query_distance

TITLES = ["fire tv stick 4k", "kindle paperwhite case", "Kühlschrank weiß", "red ceramic teapot", ""]
QUERIES = ["fire tv", "fire", "telvision", "kindle case", "Kühlschrank"]


def main() -> None:
    """Encode a few texts and keep a few numbers of each."""
    bundle = load_bundle("general")
    encoder = Encoder(bundle)
    points = encoder.products(TITLES)
    queries = {}
    for text in QUERIES:
        query = encoder.query(text)
        assert query is not None
        distances = query_distance(query, points, bundle.gamma)
        queries[text] = {"size": query.size, "weights": query.weights.tolist(), "distances": distances.tolist()}
    golden = {"model": bundle.model, "titles": TITLES, "points": points[:, :4].tolist(), "queries": queries}
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    (Path(__file__).parent / "general.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
