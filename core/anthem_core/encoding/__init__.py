"""From text to geometry: the tokenizer, the bundle, its encoders and its attention graph."""
