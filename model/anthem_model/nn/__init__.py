"""The network as torch modules: layers, query and product encoder, attention grid."""
