"""What every part needs of a cluster: connection, authentication, releases, index fields and permissions."""
