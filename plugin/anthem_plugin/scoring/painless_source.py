"""Source of the stored script in Painless: containment, attention, and the score that fuses them.

Its variables are typed and numbers are cast, because the same code with `def` was four to eight times slower. It reads
a field once per product, because every `doc.get` decodes the value again.
"""

from __future__ import annotations

_VALUES_SOURCE = """\
double at(List list, int i) { return ((Number) list.get(i)).doubleValue(); }

double number(Map params, String name) { return ((Number) params.get(name)).doubleValue(); }

// Value of a product's field; null if it has none, or if the field's type has no values for scripts.
def storedValue(Map doc, def field) {
  if (field == null || !doc.containsKey(field)) return null;
  try {
    def values = doc.get(field);
    return values.size() == 0 ? null : values.value;
  } catch (Exception e) {
    return null;
  }
}

// Whether a product's values are of this model.
boolean hasModel(Map doc, Map params) {
  return params.get('model').equals(storedValue(doc, params.get('model_field')));
}
"""

_CONTAINMENT_SOURCE = """\
// Vector of a product, space coordinates in steps; null if it has none of this dimension.
byte[] storedVector(Map doc, def field, List centres) {
  def value = storedValue(doc, field);
  if (!(value instanceof byte[])) return null;
  byte[] x = (byte[]) value;
  return centres.size() > 0 && x.length + 1 == ((List) centres.get(0)).size() ? x : null;
}

// Fills z with a product's coordinates as seen from a centre, and returns the factor that scales them
// to a tangent vector. Painless has no asinh, and log1p keeps the factor exact near the centre.
double logmap(byte[] x, double step, List centre, double[] z) {
  int n = x.length;
  int squares = 0;
  double dot = 0.0;
  for (int i = 0; i < n; ++i) { int v = x[i]; squares += v * v; dot += v * at(centre, i + 1); }
  double x0 = Math.sqrt(1.0 + step * step * squares);
  double c0 = at(centre, 0);
  double shift = (x0 + x0 * c0 - step * dot) / (1.0 + c0);
  double r = 0.0;
  for (int i = 0; i < n; ++i) { double y = step * x[i] - shift * at(centre, i + 1); z[i] = y; r += y * y; }
  double length = Math.sqrt(r);
  return length < 1e-7 ? 1.0 : Math.log1p(length + r / (1.0 + Math.sqrt(1.0 + r))) / length;
}

// (e + |e|) / 2 is max(e, 0), which costs twice as much.
double hyperboloidDistance(double[] z, double factor, List limits, double gamma) {
  double outside = 0.0;
  double inside = 0.0;
  for (int i = 0; i < z.length; ++i) {
    double length = Math.abs(z[i]) * factor;
    double excess = length - at(limits, i);
    double overshoot = 0.5 * (excess + Math.abs(excess));
    double within = length - overshoot;
    outside += overshoot * overshoot;
    inside += within * within;
  }
  return Math.sqrt(outside) + gamma * Math.sqrt(inside);
}

// Number of hyperboloids of each query. Without `counts` there is one query, which has all of them.
List hyperboloidCounts(Map params) {
  List counts = (List) params.get('counts');
  return counts == null ? [((List) params.get('centres')).size()] : counts;
}

// Value of a region from the values of its queries: the minimum over the alternatives of their maxima.
double combine(double[] values, List alternatives) {
  if (alternatives == null) return values[0];
  double minimum = Double.MAX_VALUE;
  for (int a = 0; a < alternatives.size(); ++a) {
    List queries = (List) alternatives.get(a);
    double maximum = -Double.MAX_VALUE;
    for (int i = 0; i < queries.size(); ++i) {
      maximum = Math.max(maximum, values[((Number) queries.get(i)).intValue()]);
    }
    minimum = Math.min(minimum, maximum);
  }
  return minimum;
}

double regionDistance(byte[] x, Map params) {
  List centres = (List) params.get('centres');
  List limits = (List) params.get('limits');
  List weights = (List) params.get('weights');
  double gamma = number(params, 'gamma');
  double step = number(params, 'vector_step');
  List counts = hyperboloidCounts(params);
  double[] z = new double[x.length];
  double[] distances = new double[centres.size()];
  double[] values = new double[counts.size()];
  int first = 0;
  for (int q = 0; q < values.length; ++q) {
    int end = first + ((Number) counts.get(q)).intValue();
    double nearest = Double.MAX_VALUE;
    for (int k = first; k < end; ++k) {
      double factor = logmap(x, step, (List) centres.get(k), z);
      distances[k] = hyperboloidDistance(z, factor, (List) limits.get(k), gamma);
      nearest = Math.min(nearest, distances[k]);
    }
    double sum = 0.0;
    for (int k = first; k < end; ++k) { sum += at(weights, k) * Math.exp(nearest - distances[k]); }
    values[q] = nearest - Math.log(sum);
    first = end;
  }
  return combine(values, (List) params.get('alternatives'));
}

double regionExcess(byte[] x, Map params) {
  List centres = (List) params.get('centres');
  double step = number(params, 'vector_step');
  List counts = hyperboloidCounts(params);
  double[] z = new double[x.length];
  double[] values = new double[counts.size()];
  int k = 0;
  for (int q = 0; q < values.length; ++q) {
    double smallest = Double.MAX_VALUE;
    for (int end = k + ((Number) counts.get(q)).intValue(); k < end; ++k) {
      double factor = logmap(x, step, (List) centres.get(k), z);
      List limits = (List) ((List) params.get('limits')).get(k);
      double largest = -Double.MAX_VALUE;
      for (int i = 0; i < z.length; ++i) { largest = Math.max(largest, Math.abs(z[i]) * factor - at(limits, i)); }
      smallest = Math.min(smallest, largest);
    }
    values[q] = smallest;
  }
  return combine(values, (List) params.get('alternatives'));
}
"""

_ATTENTION_SOURCE = """\
// Trigrams of a product, as `anthem_core.encoding.packed_titles` writes them; null if it has none.
BytesRef storedTrigrams(Map doc, def field) {
  def value = storedValue(doc, field);
  return value instanceof BytesRef ? (BytesRef) value : null;
}

// Every trigram adds the defaults to the sums; one with a row of its own, also its difference from them. NaN for bytes
// that are no title.
double tableScore(BytesRef title, Map table) {
  byte[] bytes = title.bytes;
  int b = title.offset;
  int end = b + title.length;
  if (b == end) return Double.NaN;
  int count = bytes[b++];
  if (count < 0) {
    if (b == end) return Double.NaN;
    count = (count & 127) + ((bytes[b++] & 255) << 7);
  }
  int firstWeight = b;
  b += (count + 1) / 2;
  if (b + count > end) return Double.NaN;
  String rows = (String) table.get('rows');
  int ids = rows.length();
  List entries = (List) table.get('entries');
  List attention = (List) table.get('attention');
  List defaultAnswered = (List) table.get('default_answered');
  List defaultCells = (List) table.get('default_answered_cells');
  double defaultExplained = number(table, 'default_explained');
  double[] answered = new double[attention.size()];
  double[] cells = new double[attention.size()];
  double explained = 0.0;
  int weights = 0;
  int id = 0;
  for (int j = 0; j < count; ++j) {
    if (b == end) return Double.NaN;
    int part = bytes[b++];
    id += part & 127;
    if (part < 0) {
      if (b == end) return Double.NaN;
      part = bytes[b++];
      id += (part & 127) << 7;
      if (part < 0) {
        if (b == end || bytes[b] < 0) return Double.NaN;
        id += bytes[b++] << 14;
      }
    }
    if (id > 65535) return Double.NaN;
    int weight = bytes[firstWeight + (j >> 1)] >> ((j & 1) << 2) & 15;
    weights += weight;
    int row = id < ids ? rows.charAt(id) - 33 : -1;  // a space, code 32, means no row
    if (row < 0) continue;
    List own = (List) entries.get(row);
    explained += weight * (at(own, 0) - defaultExplained);
    for (int e = 1; e < own.size(); e += 3) {
      int i = ((Number) own.get(e)).intValue();
      answered[i] += at(own, e + 1) - at(defaultAnswered, i);
      cells[i] += at(own, e + 2) - at(defaultCells, i);
    }
  }
  if (b != end) return Double.NaN;
  double score = explained / weights + defaultExplained;
  for (int i = 0; i < cells.length; ++i) {
    double sum = answered[i] + count * at(defaultAnswered, i);
    score += at(attention, i) * (cells[i] + count * at(defaultCells, i)) / sum;
  }
  return score;
}

// The highest score of any table; NaN if none has a score, as for a title without trigrams.
double attentionScore(BytesRef title, List tables) {
  if (title == null) return Double.NaN;
  double best = Double.NaN;
  for (int t = 0; t < tables.size(); ++t) {
    double score = tableScore(title, (Map) tables.get(t));
    if (Double.isNaN(best) || score > best) best = score;
  }
  return best;
}
"""

FUNCTIONS_SOURCE = f"{_VALUES_SOURCE}\n{_CONTAINMENT_SOURCE}\n{_ATTENTION_SOURCE}\n"

SCORE_SOURCE = """\
// What a signal adds to m; a missing signal counts as its median.
double shift(double value, double median, double weight) {
  double added = weight * (value - median);
  return Double.isNaN(added) || Double.isInfinite(value) ? 0.0 : added;
}

boolean known = hasModel(doc, params);
List centres = (List) params.get('centres');
byte[] x = known && centres != null ? storedVector(doc, params.get('vector'), centres) : null;
if (params.get('slack') != null) {
  if (x == null) return number(params, 'unknown');
  return regionExcess(x, params) <= number(params, 'slack') ? 1.0 : 0.0;
}
double m = 0.0;
if (x != null) {
  m -= shift(regionDistance(x, params), number(params, 'median_distance'), number(params, 'containment'));
}
List tables = (List) params.get('tables');
if (known && tables != null) {
  double attention = attentionScore(storedTrigrams(doc, params.get('trigrams')), tables);
  m += shift(attention, number(params, 'median_attention'), number(params, 'attention'));
}
double limit = number(params, 'max_shift');
double score = (_score + number(params, 'lexical_offset')) * Math.exp(limit * Math.tanh(m / limit));
return score >= 0.0 ? Math.min(score, (double) Float.MAX_VALUE) : 0.0;
"""
