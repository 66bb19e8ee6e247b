"""A real local OpenSearch node, made of published artifacts: fetched, checked, started, stopped.

`temporary_node()` yields the URL of a node that is gone afterwards; `start_node`, `stop_node` and `get_node_status` are the commands'.
"""

from anthem_sandbox.node.cluster_choice import cluster_for_demo, cluster_for_tests
from anthem_sandbox.node.lifecycle import NodeStatus, get_node_status, start_node, stop_node, temporary_node

__all__ = [
    "NodeStatus",
    "cluster_for_demo",
    "cluster_for_tests",
    "get_node_status",
    "start_node",
    "stop_node",
    "temporary_node",
]
