"""The model card of a bundle, its README.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anthem_core.bundle import Bundle
    from anthem_exporter.parity import ParityReport


def card(bundle: Bundle, report: ParityReport) -> str:
    """Markdown that says what a bundle is, what it was trained on, how good it is, and how to use it."""
    fusion = "\n".join(f"| {signals} | {weights.to_dict()} |" for signals, weights in bundle.fusion.items())
    return f"""# ANTHEM bundle {bundle.model}

A reranker for product search: a query becomes {bundle.hyperboloids} hyperboloids in {bundle.dimension} dimensions,
a product a point; a product matches when it lies inside. It loads with ONNX Runtime alone.

| | |
|---|---|
| size of graphs and vocabulary | {bundle.bytes / 1e6:.1f} MB |
| vocabulary | {len(bundle.vocabulary.known)} trigrams and {bundle.vocabulary.buckets} hash buckets |
| radius bound, γ, default slack | {bundle.radius}, {bundle.gamma}, {bundle.slack:.4f} |
| trained on | {", ".join(bundle.trained_on)} |
| quality | `{json.dumps(bundle.quality)}` |

| signals | fusion weights |
|---|---|
{fusion}

```
{report}
```

Use: `anthem ingest INDEX --bundle FOLDER`, then `anthem search INDEX QUERY --bundle FOLDER`.
"""
