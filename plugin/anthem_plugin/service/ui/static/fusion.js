// The fusion of core/anthem_core/fusion.py; tests/test_ui_page.py compares its orders with those of Python.

const LARGEST_FLOAT32 = 3.4028234663852886e38;

/** What each signal of the model adds to the shift of a product; null for a signal that it lacks. */
function contributions(product, weights) {
  return {
    attention: part(product.attention, weights.median_attention, weights.attention),
    distance: part(product.distance, weights.median_distance, -weights.containment),
  };
}

/** Lexical score, shift, factor and score of a product: score = (lexical + h)·exp(B·tanh(shift/B)). */
export function scoreParts(product, weights, maxShift) {
  const { attention, distance } = contributions(product, weights);
  const shift = (attention ?? 0) + (distance ?? 0);
  const factor = Math.exp(maxShift * Math.tanh(shift / maxShift));
  const score = Math.min((product.lexical + weights.lexical_offset) * factor, LARGEST_FLOAT32);
  return { attention, distance, shift, factor, score };
}

/** Places of products in the lexical list, best first: the window by score in float32, then the rest as it was. */
export function rankProducts(products, weights, window, maxShift) {
  const scores = products.map((product) => Math.fround(scoreParts(product, weights, maxShift).score));
  const places = products.map((_, place) => place);
  const reranked = places.slice(0, window).sort((one, other) => scores[other] - scores[one]);
  return [...reranked, ...places.slice(window)];
}

function part(value, median, weight) {
  return value === null ? null : weight * (value - median);
}
