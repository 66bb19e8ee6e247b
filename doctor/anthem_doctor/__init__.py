"""`anthem doctor`: reads a cluster, an index and its vectors, and reports findings with the commands that fix them."""
