"""Write the two attention graphs of tests/golden again, with random weights: python tests/golden/attention.py.

A cell is the inner product of two entity vectors, each shared by many ids. The grid's score is the mean over the query
of the largest cell. In the table each entity has the three ids of its block of 64 with the largest cells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

ROWS, DIMENSION, PLACES = 64, 8, 223  # more ids and places than a bundle has
GRID = """
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
TABLE = """
<ir_version: 9, opset_import: ["" : 18]>
attention_table (int64[one,T] query, bool[one,T] query_mask)
    => (int64[T,M] ids, float[T,M] answered, float[T,M] answered_cells, float[T,M] explained,
        float[T] default_answered, float[T] default_answered_cells, float default_explained, float[T] attention,
        float[V] id_logits, float[P] place_logits)
<int64 rows = {64}, int64[1] first = {0}, int64[1] last = {-1}, int64[1] three = {3}, float sharpness = {4.0},
 int64[1] blocks = {1024}, float share = {0.25}>
{
    asked = Squeeze(query, first)
    kept = Squeeze(query_mask, first)
    row = Mod(asked, rows)
    block = Sub(asked, row)
    q = Gather(table, row)
    turned = Transpose <perm = [1, 0]> (table)
    every = MatMul(q, turned)
    cells, near = TopK(every, three)
    begin = Unsqueeze(block, last)
    ids = Add(near, begin)
    sharp = Mul(cells, sharpness)
    answered = Exp(sharp)
    answered_cells = Mul(answered, cells)
    best = ReduceMax <keepdims = 0> (every, first)
    best_near = Gather(best, near)
    explained = Mul(best_near, share)
    mean = ReduceMean <keepdims = 0> (best)
    default_explained = Mul(mean, share)
    every_sharp = Mul(every, sharpness)
    every_answered = Exp(every_sharp)
    every_answered_cells = Mul(every_answered, every)
    default_answered = ReduceMean <keepdims = 0> (every_answered, last)
    default_answered_cells = ReduceMean <keepdims = 0> (every_answered_cells, last)
    weights = Cast <to = 1> (kept)
    count = ReduceSum(weights)
    attention = Div(weights, count)
    id_logits = Tile(looks, blocks)
    place_logits = Identity(places)
}
"""


def save_graph(text: str, file: str, **weights: np.ndarray) -> None:
    """Parse a graph, add its weights, check it and write it."""
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, Path(__file__).parent / file)


def main() -> None:
    """Write both graphs with the same entity vectors."""
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(ROWS, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    looks = rng.normal(size=ROWS).astype(np.float32)
    places = np.linspace(0, -2, PLACES).astype(np.float32)
    save_graph(GRID, "attention.onnx", table=vectors)
    save_graph(TABLE, "attention_table.onnx", table=vectors, looks=looks, places=places)


if __name__ == "__main__":
    main()
