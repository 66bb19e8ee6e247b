"""Torch modules as ONNX graphs with dynamic batch and length."""

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

from anthem_core.encoding import attention
from anthem_core.encoding.bundle import ATTENTION_GRAPH, PRODUCT_GRAPH, QUERY_GRAPH
from anthem_core.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anthem_model.nn.network import Anthem


@dataclass(frozen=True)
class GraphSpec:
    """A graph of the bundle: its file, the names of its inputs, pairs of ids and mask, and of its outputs, in order."""

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


TEXT_INPUTS = ("trigrams", "mask")
QUERY_SPEC = GraphSpec(QUERY_GRAPH, TEXT_INPUTS, ("centres", "limits", "weights", "entities", "intersections"))
PRODUCT_SPEC = GraphSpec(PRODUCT_GRAPH, TEXT_INPUTS, ("points", "attention"))
ATTENTION_SPEC = GraphSpec(ATTENTION_GRAPH, attention.ATTENTION_INPUTS, attention.ATTENTION_OUTPUTS)


def graph_modules(model: Anthem) -> dict[GraphSpec, nn.Module]:
    """The torch module behind every graph."""
    return {QUERY_SPEC: model.query, PRODUCT_SPEC: model.product, ATTENTION_SPEC: model.grid}


class _HalfPrecisionTable(nn.Module):
    """Rows kept in float16 and given in float32."""

    rows: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows.detach().half())

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of ids."""
        return self.rows[ids].float()


class _HalfPrecisionEntities(nn.Module):
    """Entities for a graph: tangent vectors and salience by id, both in float16."""

    def __init__(self, model: Anthem) -> None:
        super().__init__()
        self.tangent = _HalfPrecisionTable(model.shape.space.log0(model.entities.points))
        self.salience = _HalfPrecisionTable(model.entities.salience.weight)

    def forward(self, trigrams: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent vectors and salience, as the model's own entities give them."""
        return self.tangent(trigrams), self.salience(trigrams).squeeze(-1)


def pack_tables(model: Anthem) -> Anthem:
    """The same model with tables of half the size; one whose tables were rounded computes what it did."""
    copied = copy.deepcopy(model)
    copied.query.entities = copied.product.entities = _HalfPrecisionEntities(model)  # type: ignore[assignment]
    query, grid = copied.query, copied.grid
    for part, name in ((query, "limits"), (query, "extent"), (grid, "tangents"), (grid, "salience")):
        setattr(part, name, _HalfPrecisionTable(getattr(part, name).weight))
    return copied


def export_graph(module: nn.Module, graph: GraphSpec, folder: Path) -> Path:
    """Export one module; ids int64 and masks bool, of two axes each, which are dynamic but for the one query."""
    length = {1: torch.export.Dim("length", min=1)}
    rows = {0: torch.export.Dim("batch", min=1), **length}
    asked = {1: torch.export.Dim("asked", min=1)}
    pair = graph is ATTENTION_SPEC
    axes = (asked, asked, rows, rows) if pair else (rows, rows)
    example = (*_example_text(1), *_example_text(3, 9)) if pair else _example_text(3)
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
        raise ParityError(f"torch {torch.__version__} exported no {graph.file}; torch 2.9 or newer was wanted.")
    onnx.save(_strip_metadata(program.model_proto), path)
    return path


def _example_text(batch: int, length: int = 7) -> tuple[Tensor, Tensor]:
    """Some ids and their mask."""
    return torch.randint(1, 5, (batch, length)), torch.ones(batch, length, dtype=torch.bool)


def _strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the exporter's notes, which hold paths of the machine: the same model gives the same bytes."""
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
    """Torch's exporter talks on standard output, in warnings and in a log; ours is the parity report."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
