"""What all parts agree on: geometry, text, bundle, encoders, errors, local node, catalogue, the command line."""
