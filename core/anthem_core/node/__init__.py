"""A real local OpenSearch node, made of published artifacts: fetched, checked, started, stopped.

`local_node()` yields the URL of a node that is gone afterwards; `start`, `stop` and `status` are the commands'.
"""

from anthem_core.node.choose import demo_cluster, test_cluster
from anthem_core.node.process import NodeStatus, local_node, start, status, stop

__all__ = ["NodeStatus", "demo_cluster", "local_node", "start", "status", "stop", "test_cluster"]
