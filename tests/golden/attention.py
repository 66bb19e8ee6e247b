"""Write tests/golden/attention.onnx again, a graph with random weights: python tests/golden/attention.py.

A cell is the inner product of two trigram vectors; the score is the mean over the query of the largest cell.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

GRAPH = """
<ir_version: 9, opset_import: ["" : 18]>
attention (int64[one,T] query, bool[one,T] query_mask, int64[N,L] titles, bool[N,L] title_mask)
    => (float[N] scores, float[N,T,L] grids)
<int64 rows = {64}, int64[1] last = {-1}, int64[1] middle = {1}, float barred = {-9.0}, float bare = {0.0}>
{
    asked = Mod(query, rows)
    offered = Mod(titles, rows)
    q = Gather(table, asked)
    t = Gather(table, offered)
    turned = Transpose <perm = [0, 2, 1]> (t)
    cells = MatMul(q, turned)
    row = Unsqueeze(query_mask, last)
    column = Unsqueeze(title_mask, middle)
    both = And(row, column)
    grids = Where(both, cells, bare)
    open = Where(column, cells, barred)
    best = ReduceMax <keepdims = 0> (open, last)
    weights = Cast <to = 1> (query_mask)
    weighted = Mul(best, weights)
    sum = ReduceSum <keepdims = 0> (weighted, last)
    count = ReduceSum <keepdims = 0> (weights, last)
    scores = Div(sum, count)
}
"""


def main() -> None:
    """Parse the graph, add the vectors, check it and write it."""
    vectors = np.random.default_rng(7).normal(size=(64, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    model = parser.parse_model(GRAPH)
    model.graph.initializer.append(numpy_helper.from_array(vectors, "table"))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, Path(__file__).parent / "attention.onnx")


if __name__ == "__main__":
    main()
