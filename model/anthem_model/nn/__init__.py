"""The network: encoders and the attention grid as torch modules."""
