"""The index that a file is loaded into, read before the file: whether it takes products, and why a field is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthem_core.errors import ClusterError, DataError
from anthem_core.opensearch.connection import cluster_errors
from anthem_ingest import index_io
from anthem_ingest.mapping import IndexDescription, parse_single_index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from opensearchpy import OpenSearch

    from anthem_ingest.actions import FieldsWithoutTextError


@cluster_errors()
def read_load_target(client: OpenSearch, name: str) -> IndexDescription | None:
    """The index that products of a file will be written to; None if it has to be created.

    Raises:
        ClusterError: It is a data stream, which takes new documents only, an alias of several indices, or the cluster
            refuses.
    """
    response = index_io.describe_index(client, name)
    if not response:
        return None
    stream = find_data_stream(response)
    if stream:
        raise data_stream_error(stream)
    return parse_single_index(response, name)


def data_stream_error(stream: str) -> ClusterError:
    """Why products of a file cannot be written to a data stream, and what to do."""
    return ClusterError(
        f"'{stream}' is a data stream, which accepts only new documents: a product of a file replaces the one with "
        "the same id. Load the file into an index of another name, or append the products with your own program "
        f"(op_type create, with @timestamp) and then add the values: anthem ingest {stream}"
    )


def find_data_stream(response: Mapping[str, Any]) -> str | None:
    """Name of the data stream that an index of the response to `GET /<name>` belongs to."""
    return next((body["data_stream"] for body in response.values() if body.get("data_stream")), None)


def explain_missing_fields(error: FieldsWithoutTextError, index: str, recorded: Sequence[str]) -> DataError:
    """The error, or one that says what would be lost if the index was ingested from the fields that the file lacks."""
    lacking = [field for field in recorded if field in error.fields]
    if not lacking:
        return error
    others = [field for field in recorded if field not in lacking]
    names = " and ".join(lacking)
    reduced = (
        f"; or, if the products have no {names} any more, name the others: "
        f"{' '.join(f'--field {field}' for field in others)}"
        if others
        else ""
    )
    return DataError(
        f"No product of {error.file_name} has text in {names}, and index '{index}' was ingested from "
        f"{', '.join(recorded)}. {error.known} A row replaces the whole product, so its {names} would be lost. Add it "
        f"to the file; or add --partial, which changes only the fields that a row has{reduced}."
    )
