"""The front door of ANTHEM Search: everything an application needs, from one import. Re-exports only.

```python
from opensearchpy import OpenSearch
from anthem_search import AnthemClient

client = AnthemClient.from_bundle(OpenSearch("http://localhost:9200"), "general")
response = client.search("products", {"query": {"match": {"title": "cordless dril"}}, "size": 10})
```
"""

from importlib.metadata import version

from anthem_core.encoding.bundle import Bundle, load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.errors import (
    AnthemError,
    BundleError,
    ClusterError,
    DataError,
    ExtraError,
    NodeError,
    ParityError,
    PartialError,
)
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.modes import Filter, Retrieve
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.circuit_breaker import CircuitBreaker

__version__ = version("anthem-search")

__all__ = [
    "AnthemClient",
    "AnthemError",
    "AsyncAnthemClient",
    "Bundle",
    "BundleError",
    "CircuitBreaker",
    "ClientOptions",
    "ClusterError",
    "DataError",
    "Encoder",
    "ExtraError",
    "Filter",
    "ModelFields",
    "NodeError",
    "ParityError",
    "PartialError",
    "Retrieve",
    "__version__",
    "load_bundle",
]
