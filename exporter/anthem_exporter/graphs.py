"""Torch modules as ONNX graphs with dynamic batch and length."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
import torch

from anthem_core.bundle import PRODUCT_GRAPH, QUERY_GRAPH
from anthem_core.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from anthem_model.network import Anthem


@dataclass(frozen=True)
class Graph:
    """A graph of the bundle: its file, and the names of its outputs in order."""

    file: str
    outputs: tuple[str, ...]


INPUTS = ("trigrams", "mask")
QUERY = Graph(QUERY_GRAPH, ("centres", "limits", "weights", "entities", "intersections"))
PRODUCT = Graph(PRODUCT_GRAPH, ("points", "attention"))


def modules(model: Anthem) -> dict[Graph, nn.Module]:
    """The torch module behind every graph."""
    return {QUERY: model.query, PRODUCT: model.product}


def write(module: nn.Module, graph: Graph, folder: Path) -> Path:
    """Export one module; inputs `trigrams (B,T)` int64 and `mask (B,T)` bool, both axes dynamic."""
    example = (torch.randint(1, 5, (3, 7)), torch.ones(3, 7, dtype=torch.bool))
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("length", min=1)}
    path = folder / graph.file
    with _quiet():
        program = torch.onnx.export(
            module,
            example,
            input_names=list(INPUTS),
            output_names=list(graph.outputs),
            dynamic_shapes=(axes, axes),
            dynamo=True,
            external_data=False,
        )
    if program is None:
        raise ParityError(f"torch {torch.__version__} exported no {graph.file}; torch 2.9 or newer was wanted.")
    onnx.save(_bare(program.model_proto), path)
    return path


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
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
def _quiet() -> Iterator[None]:
    """Torch's exporter talks on standard output, in warnings and in a log; ours is the parity report."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
