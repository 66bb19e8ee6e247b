"""`anthem doctor`: reads facts from a cluster, checks them, and names a fix for each fault; it writes to no cluster."""
