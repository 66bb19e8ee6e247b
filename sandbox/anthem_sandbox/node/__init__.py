"""A real local OpenSearch node built from published artifacts: download, layout, start, watch and stop."""

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
