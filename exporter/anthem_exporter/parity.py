"""The parity check: torch against ONNX Runtime in names, axes, shapes and values. All faults are reported at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from anthem_core.beir import read_products
from anthem_core.encoding.encoder import open_session
from anthem_core.encoding.tokenizer import pad_ids
from anthem_core.errors import ParityError
from anthem_exporter.graphs import GRID_SPEC, QUERY_SPEC, TABLE_SPEC, GraphSpec, graph_modules
from anthem_sandbox.catalogue import generate_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from torch import nn

    from anthem_core.encoding.tokenizer import Vocabulary
    from anthem_model.nn.network import Anthem

Array: TypeAlias = npt.NDArray[Any]
GraphFeed: TypeAlias = dict[str, Array]

PARITY_TOLERANCE = 1e-5
PARITY_BATCH_SIZES = (1, 7, 64)
PARITY_TEXT_COUNT = 1000
EXTRA_TEXT_COUNT = 2  # an empty and an over-long text
MIN_EQUAL_NEIGHBOURS = 0.8  # fraction of a query's trigrams that must have the same neighbours in torch
UNUSUAL_TEXTS = (
    "Kühlschrank weiß",
    "लाल चाय की केतली",
    "赤い急須",
    "красный чайник",
    "إبريق شاي",
    "½ in. ™ №5",
    "👩‍🔧",
    "x" * 2000,
)


@dataclass
class GraphParity:
    """Result for one graph: number of texts, largest absolute difference by output, and all faults."""

    graph: str
    texts: int
    differences: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ParityReport:
    """Parity of all graphs of a bundle."""

    graphs: list[GraphParity]
    tolerance: float = PARITY_TOLERANCE
    batches: tuple[int, ...] = PARITY_BATCH_SIZES

    @property
    def passed(self) -> bool:
        """Whether no graph has a fault."""
        return not any(graph.faults for graph in self.graphs)

    def to_dict(self) -> dict[str, Any]:
        """Report as JSON values."""
        return {"passed": self.passed, **asdict(self)}

    def __str__(self) -> str:
        lines = [f"parity, torch against ONNX Runtime, batches of {', '.join(map(str, self.batches))}:"]
        for graph in self.graphs:
            worst = max(graph.differences.values(), default=float("nan"))
            lines.append(f"  {graph.graph}: {graph.texts} texts, largest difference {worst:.1e}")
            lines += [f"    FAULT {fault}" for fault in graph.faults]
        return "\n".join(lines)


def check_parity(
    model: Anthem,
    vocabulary: Vocabulary,
    folder: Path,
    texts: Sequence[str],
    advance: Callable[[int], object] = lambda _: None,
) -> ParityReport:
    """Compare every graph of a folder with its torch module on texts, on an empty and on an over-long text.

    `advance` is called with the number of texts that were compared, `count_comparisons` in all if nothing differs.

    Raises:
        ParityError: A name, axis, shape or value differs; the message contains the report.
    """
    compared = ["", "over-long " * vocabulary.title_limit, *texts]
    graphs = graph_modules(model).items()
    report = ParityReport(
        [_compare_graph(module, graph, vocabulary, folder, compared, advance) for graph, module in graphs]
    )
    if not report.passed:
        raise ParityError(f"The graphs and the torch model differ.\n{report}\nNothing was exported.")
    return report


def count_comparisons(texts: Sequence[str], graphs: Collection[GraphSpec]) -> int:
    """Number of texts that `check_parity` compares, each once per graph and size of batch."""
    return sum((len(texts) + EXTRA_TEXT_COUNT) * len(_batch_sizes(graph)) for graph in graphs)


def _batch_sizes(graph: GraphSpec) -> tuple[int, ...]:
    """Sizes of the batches that a graph is compared with; the graph of a query's table takes a single text."""
    return (1,) if graph is TABLE_SPEC else PARITY_BATCH_SIZES


def _compare_graph(
    module: nn.Module,
    graph: GraphSpec,
    vocabulary: Vocabulary,
    folder: Path,
    texts: Sequence[str],
    advance: Callable[[int], object],
) -> GraphParity:
    result = GraphParity(graph.file, len(texts))
    runtime = open_session(folder / graph.file)
    _compare_signature(runtime, graph, result)
    if not result.faults:
        for feed in _graph_feeds(graph, vocabulary, texts):
            _compare_values(module, runtime, graph, feed, result)
            advance(len(feed[graph.inputs[-1]]))
    return result


def _graph_feeds(graph: GraphSpec, vocabulary: Vocabulary, texts: Sequence[str]) -> Iterator[GraphFeed]:
    """Inputs of a graph: all texts in batches of every size; the grid gets one text per batch as query."""
    queries = [vocabulary.query_ids(text) for text in texts]
    rows = queries if graph in (QUERY_SPEC, TABLE_SPEC) else [vocabulary.title_ids(text) for text in texts]
    for size in _batch_sizes(graph):
        for number, start in enumerate(range(0, len(rows), size)):
            query = pad_ids([queries[number % len(queries)]]) if graph is GRID_SPEC else ()
            yield dict(zip(graph.inputs, (*query, *pad_ids(rows[start : start + size])), strict=True))


def _compare_signature(runtime: Any, graph: GraphSpec, result: GraphParity) -> None:  # noqa: ANN401 (ONNX Runtime has no types)
    inputs = {value.name: value.shape for value in runtime.get_inputs()}
    if tuple(inputs) != graph.inputs:
        result.faults.append(f"inputs are {tuple(inputs)}, expected {graph.inputs}")
    result.faults += [
        f"input {name} has a fixed axis: {shape}" for name, shape in inputs.items() if not _is_dynamic(name, shape)
    ]
    outputs = tuple(value.name for value in runtime.get_outputs())
    if outputs != graph.outputs:
        result.faults.append(f"outputs are {outputs}, expected {graph.outputs}")


def _is_dynamic(name: str, shape: Sequence[int | str]) -> bool:
    """Whether both axes are dynamic or, for the query inputs of the attention graphs, all but the first, which is 1."""
    dynamic = [isinstance(axis, str) for axis in shape]
    is_query = name in TABLE_SPEC.inputs
    return dynamic == [True, True] or (is_query and shape[0] == 1 and dynamic == [False, True])


@torch.inference_mode()
def _compare_values(module: nn.Module, runtime: Any, graph: GraphSpec, feed: GraphFeed, result: GraphParity) -> None:  # noqa: ANN401
    outputs = [value.numpy() for value in module(*(torch.from_numpy(value) for value in feed.values()))]
    computed = runtime.run(list(graph.outputs), feed)
    if graph is TABLE_SPEC:
        outputs, computed = _without_ties(outputs, computed)
    texts = len(feed[graph.inputs[-1]])
    for name, values, reference in zip(graph.outputs, computed, outputs, strict=True):
        if values.shape != reference.shape:
            result.faults.append(f"{name} has shape {values.shape}, expected {reference.shape}")
            continue
        difference = float(np.abs(values - reference).max(initial=0.0))
        result.differences[name] = max(difference, result.differences.get(name, 0.0))
        if not difference <= PARITY_TOLERANCE:
            result.faults.append(f"{name} differs by {difference:.1e}, allowed {PARITY_TOLERANCE:.0e} ({texts} texts)")


def _without_ties(outputs: Sequence[Array], computed: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """Outputs of a table with its neighbours by ascending id, without trigrams whose neighbours differ in a tie.

    Two ids at the same distance are equally near, and rounding decides which of them is a neighbour.
    """
    sides = [_sort_neighbours(side) for side in (outputs, computed)]
    equal = (sides[0][0] == sides[1][0]).all(-1)
    if equal.mean() < MIN_EQUAL_NEIGHBOURS:
        return sides[0], sides[1]
    kept = [[value[equal] if value.shape[:1] == equal.shape else value for value in side] for side in sides]
    return kept[0], kept[1]


def _sort_neighbours(outputs: Sequence[Array]) -> list[Array]:
    order = np.argsort(outputs[0], axis=-1)
    return [np.take_along_axis(value, order, -1) if value.shape == order.shape else value for value in outputs]


def parity_texts(corpus: Path | None = None) -> list[str]:
    """Unusual texts and a thousand ordinary ones: titles of a corpus file, then texts of the generated catalogue.

    Raises:
        DataError: The corpus file cannot be read.
    """
    titles = (product.title for product in read_products(corpus)) if corpus is not None else iter(())
    return [*UNUSUAL_TEXTS, *islice(chain(titles, _generated_texts()), PARITY_TEXT_COUNT)]


def _generated_texts() -> Iterator[str]:
    """Queries and titles of the generated catalogue, alternating; a check, as tests are, may use the sandbox."""
    catalogue = generate_catalogue()
    for query, product in zip(catalogue.queries.values(), catalogue.products.values(), strict=False):
        yield from (query, product.title)
