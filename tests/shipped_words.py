"""Words of a text as the shipped bundle reads them, and the dimension of its vectors."""

from anthem_core.encoding.bundle import load_bundle

_BUNDLE = load_bundle("general")
DIMENSION = _BUNDLE.dimension
VOCABULARY = _BUNDLE.vocabulary
split_words = VOCABULARY.split_words
has_words = VOCABULARY.has_words
