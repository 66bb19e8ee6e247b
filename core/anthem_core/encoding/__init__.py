"""From text to geometry: the tokenizer, the bundle of exported graphs, the encoders that run it. No cluster here."""
