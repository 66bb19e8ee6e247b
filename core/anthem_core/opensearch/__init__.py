"""Working with an OpenSearch cluster: connection, sign-in, versions, index schema, permissions. No search logic."""
