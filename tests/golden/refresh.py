"""Write tests/golden/general.json again after the shipped bundle has changed: python tests/golden/refresh.py."""

from __future__ import annotations

import json
import math
from pathlib import Path

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder

TITLES = ["fire tv stick 4k", "kindle paperwhite case", "Kühlschrank weiß", "red ceramic teapot", ""]
QUERIES = ["fire tv", "fire", "telvision", "kindle case", "Kühlschrank"]


def main() -> None:
    """Encode a few texts and write some of their values."""
    bundle = load_bundle("general")
    encoder, scorer = Encoder(bundle), AttentionScorer(bundle)
    points = encoder.encode_products(TITLES)
    queries = {}
    for text in QUERIES:
        query = encoder.encode_query(text)
        assert query is not None
        distances = query.distance(points, bundle.gamma)
        attention = [None if math.isnan(score) else score for score in scorer.score_titles(text, TITLES).tolist()]
        queries[text] = {
            "size": query.size,
            "weights": query.weights.tolist(),
            "distances": distances.tolist(),
            "attention": attention,
        }
    golden = {
        "model": bundle.model_id,
        "titles": TITLES,
        "points": points[:, :4].tolist(),
        "trigrams": [packed.hex() for packed in scorer.encode_titles(TITLES).pack()],
        "queries": queries,
    }
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    (Path(__file__).parent / "general.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
