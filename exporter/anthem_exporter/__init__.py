"""From torch to ONNX, with the parity report."""
