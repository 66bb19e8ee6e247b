"""Export of torch modules as ONNX graphs with dynamic batch size and text length."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
import torch
from torch import Tensor, nn

from anthem_core.encoding.attention import TABLE_INPUTS, TABLE_OUTPUTS
from anthem_core.encoding.attention_grid import GRID_INPUTS, GRID_OUTPUTS
from anthem_core.encoding.bundle import ATTENTION_GRAPH, ATTENTION_TABLE_GRAPH, PRODUCT_GRAPH, QUERY_GRAPH
from anthem_core.errors import ParityError
from anthem_model.nn.byte_tables import encode_table
from anthem_model.nn.table_encoder import TableEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anthem_model.nn.network import Anthem


@dataclass(frozen=True)
class GraphSpec:
    """A graph of the bundle: its file and the names of its inputs, pairs of ids and mask, and of its outputs."""

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


TEXT_INPUTS = ("trigrams", "mask")
QUERY_SPEC = GraphSpec(QUERY_GRAPH, TEXT_INPUTS, ("centres", "limits", "weights", "entities", "intersections"))
PRODUCT_SPEC = GraphSpec(PRODUCT_GRAPH, TEXT_INPUTS, ("points", "attention"))
GRID_SPEC = GraphSpec(ATTENTION_GRAPH, GRID_INPUTS, GRID_OUTPUTS)
TABLE_SPEC = GraphSpec(ATTENTION_TABLE_GRAPH, TABLE_INPUTS, TABLE_OUTPUTS)


def graph_modules(model: Anthem) -> dict[GraphSpec, nn.Module]:
    """The torch module of every graph."""
    return {
        QUERY_SPEC: model.query,
        PRODUCT_SPEC: model.product,
        GRID_SPEC: model.grid,
        TABLE_SPEC: TableEncoder(model.grid),
    }


class _HalfPrecisionTable(nn.Module):
    """Embedding table that is stored in float16 and looked up in float32; the graph contains the name `rows`."""

    rows: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows.detach().half())

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of ids, in float32."""
        return self.rows[ids].float()


class _ByteTable(nn.Module):
    """Embedding table that is stored in bytes, with a scale for each row, and looked up in float32."""

    rows: Tensor
    scales: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        rows, scales = encode_table(table.detach())
        self.register_buffer("rows", rows)
        self.register_buffer("scales", scales)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of ids, in float32."""
        return self.rows[ids].float() * self.scales[ids].float()


class _PackedEntities(nn.Module):
    """Entity table of a graph: tangent vectors in bytes, and salience in float16."""

    def __init__(self, model: Anthem) -> None:
        super().__init__()
        self.tangent = _ByteTable(model.shape.space.logmap0(model.entities.points))
        self.salience = _HalfPrecisionTable(model.entities.salience.weight)

    def forward(self, trigrams: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent vectors `(B,T,D)` and salience `(B,T)`, like `EntityTable`."""
        return self.tangent(trigrams), self.salience(trigrams).squeeze(-1)


def pack_tables(model: Anthem) -> Anthem:
    """Copy of a model with its tables as a bundle stores them; it computes the same if they were rounded before."""
    copied = copy.deepcopy(model)
    copied.query.entities = copied.product.entities = _PackedEntities(model)  # type: ignore[assignment]
    query, grid = copied.query, copied.grid
    grid.tangents = _ByteTable(grid.tangents.weight)  # type: ignore[assignment]
    for part, name in ((query, "limits"), (query, "extent"), (grid, "salience")):
        setattr(part, name, _HalfPrecisionTable(getattr(part, name).weight))
    return copied


def export_graph(module: nn.Module, graph: GraphSpec, folder: Path) -> Path:
    """Export one module with inputs of two dynamic axes each, int64 ids and bool masks.

    Both attention graphs take a single query: the first axis of its query inputs is 1.

    Raises:
        ParityError: torch exported no graph.
    """
    length = {1: torch.export.Dim("length", min=1)}
    rows = {0: torch.export.Dim("batch", min=1), **length}
    query = {1: torch.export.Dim("asked", min=1)}  # graphs contain the name, and with it the model id depends on it
    axes = {GRID_SPEC: (query, query, rows, rows), TABLE_SPEC: (query, query)}.get(graph, (rows, rows))
    examples = {GRID_SPEC: (*_example_text(1), *_example_text(3, 9)), TABLE_SPEC: _example_text(1)}
    example = examples.get(graph, _example_text(3))
    path = folder / graph.file
    with _silence_exporter():
        program = torch.onnx.export(
            module,
            example,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=axes,
            dynamo=True,
            external_data=False,
        )
    if program is None:
        raise ParityError(
            f"torch {torch.__version__} exported no {graph.file}. Expected torch 2.9 or newer. Upgrade torch."
        )
    onnx.save(_strip_metadata(program.model_proto), path)
    return path


def _example_text(batch: int, length: int = 7) -> tuple[Tensor, Tensor]:
    """Ids and mask to trace a module with; the graph does not depend on their values."""
    return torch.ones(batch, length, dtype=torch.int64), torch.ones(batch, length, dtype=torch.bool)


def _strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without metadata, which contains paths of the machine, so that a model always gives the same bytes."""
    for item in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        item.doc_string = ""
        del item.metadata_props[:]
    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    return model


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Hide what torch's exporter prints, warns and logs; the parity report says what matters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
