"""Export of a trained model to a bundle of ONNX graphs, with the check that torch and ONNX Runtime compute the same."""
