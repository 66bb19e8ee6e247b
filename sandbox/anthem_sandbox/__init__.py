"""The local OpenSearch node and the generated catalogue for demo and tests. Production code never imports them."""
