"""The stored Painless script that scores and filters products in the cluster.

It computes the containment formula of `anthem_core.geometry` and the fusion of `anthem_core.fusion`; tests check that
both agree. Its variables are typed and numbers are cast, because the same script with `def` was four to eight times
slower.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.opensearch.schema import SCRIPT_ID_PREFIX
from anthem_plugin.modes import Filter
from anthem_plugin.scoring.params import ScoringParams, to_float64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.geometry.regions import EncodedQuery, Region

SCRIPT_CONTEXT = "score"
MAX_HYPERBOLOIDS = 8  # in one call of the script

CONTAINMENT_SOURCE = """\
double at(List list, int i) { return ((Number) list.get(i)).doubleValue(); }

double number(Map params, String name) { return ((Number) params.get(name)).doubleValue(); }

// Vector of a product, or null if it has none of this model and dimension.
float[] storedVector(Map doc, Map params) {
  def field = params.get('vector'); def modelField = params.get('model_field');
  if (!doc.containsKey(field) || !doc.containsKey(modelField)) return null;
  if (doc.get(field).size() == 0 || doc.get(modelField).size() == 0) return null;
  if (!params.get('model').equals(doc.get(modelField).value)) return null;
  def value = doc.get(field).value;
  if (!(value instanceof float[])) return null;
  float[] x = (float[]) value;
  return x.length == ((List) ((List) params.get('centres')).get(0)).size() ? x : null;
}

// |z|, the absolute coordinates of a product as seen from a centre. Containment needs no signs.
// Painless has no asinh, and log1p keeps it exact near zero.
double[] absoluteLogmap(float[] x, List centre) {
  int n = x.length;
  double x0 = 1.0;
  double dot = 0.0;
  for (int i = 1; i < n; ++i) { double v = x[i]; x0 += v * v; dot += v * at(centre, i); }
  x0 = Math.sqrt(x0);
  double c0 = at(centre, 0);
  double shift = (x0 + x0 * c0 - dot) / (1.0 + c0);
  double[] z = new double[n - 1];
  double r = 0.0;
  for (int i = 1; i < n; ++i) { double y = x[i] - shift * at(centre, i); z[i - 1] = Math.abs(y); r += y * y; }
  double length = Math.sqrt(r);
  double ratio = length < 1e-7 ? 1.0 : Math.log1p(length + r / (1.0 + Math.sqrt(1.0 + r))) / length;
  for (int i = 0; i < z.length; ++i) { z[i] *= ratio; }
  return z;
}

double hyperboloidDistance(double[] z, List limits, double gamma) {
  double outside = 0.0;
  double inside = 0.0;
  for (int i = 0; i < z.length; ++i) {
    double limit = at(limits, i);
    double overshoot = Math.max(z[i] - limit, 0.0);
    double within = Math.min(z[i], limit);
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

double regionDistance(float[] x, Map params) {
  if (x == null) return Double.NaN;
  List centres = (List) params.get('centres');
  List limits = (List) params.get('limits');
  List weights = (List) params.get('weights');
  double gamma = number(params, 'gamma');
  List counts = hyperboloidCounts(params);
  double[] distances = new double[centres.size()];
  double[] values = new double[counts.size()];
  int first = 0;
  for (int q = 0; q < values.length; ++q) {
    int end = first + ((Number) counts.get(q)).intValue();
    double nearest = Double.MAX_VALUE;
    for (int k = first; k < end; ++k) {
      distances[k] = hyperboloidDistance(absoluteLogmap(x, (List) centres.get(k)), (List) limits.get(k), gamma);
      nearest = Math.min(nearest, distances[k]);
    }
    double sum = 0.0;
    for (int k = first; k < end; ++k) { sum += at(weights, k) * Math.exp(nearest - distances[k]); }
    values[q] = nearest - Math.log(sum);
    first = end;
  }
  return combine(values, (List) params.get('alternatives'));
}

double regionExcess(float[] x, Map params) {
  List centres = (List) params.get('centres');
  List counts = hyperboloidCounts(params);
  double[] values = new double[counts.size()];
  int k = 0;
  for (int q = 0; q < values.length; ++q) {
    double smallest = Double.MAX_VALUE;
    for (int end = k + ((Number) counts.get(q)).intValue(); k < end; ++k) {
      double[] z = absoluteLogmap(x, (List) centres.get(k));
      List limits = (List) ((List) params.get('limits')).get(k);
      double largest = -Double.MAX_VALUE;
      for (int i = 0; i < z.length; ++i) { largest = Math.max(largest, z[i] - at(limits, i)); }
      smallest = Math.min(smallest, largest);
    }
    values[q] = smallest;
  }
  return combine(values, (List) params.get('alternatives'));
}
"""

_SCORE_SOURCE = """\

float[] x = storedVector(doc, params);
if (params.get('slack') != null) {
  if (x == null) return number(params, 'unknown');
  return regionExcess(x, params) <= number(params, 'slack') ? 1.0 : 0.0;
}
double distance = regionDistance(x, params);
if (Double.isNaN(distance)) distance = number(params, 'median_distance');
double lexical = _score;
double saturated = lexical / (lexical + number(params, 'half_saturation'));
double logit = number(params, 'bias') + number(params, 'lexical') * saturated
  - number(params, 'containment') * distance;
double fused = 1.0 / (1.0 + Math.exp(-logit));
double tiebreak = params.get('lexical_weight') == null ? 0.0 : number(params, 'lexical_weight') * lexical;
return fused >= 0.0 ? 1.0 + fused + tiebreak : 1.0 + tiebreak;
"""


def script_source() -> str:
    """Source of the stored script, which scores or filters products.

    To rerank, it returns `1 + σ(b + w_l·s/(s+h) − w_c·d)`, plus `lexical_weight·s` if that parameter is given: at least
    1 and never NaN. A product without a vector of this model and dimension gets the median distance.

    To filter, which the parameter `slack` selects, it returns 1 for a product with every `|z_i| ≤ l_i + slack`, 0 for
    others, and the parameter `unknown` for a product without a vector.
    """
    return CONTAINMENT_SOURCE + _SCORE_SOURCE


def script_id() -> str:
    """Id of the stored script. It contains a hash of the source, so two versions can coexist during an upgrade."""
    return SCRIPT_ID_PREFIX + hashlib.sha256(script_source().encode()).hexdigest()[:8]


def build_put_script_body() -> dict[str, Any]:
    """Build the body of `PUT _scripts/<script_id()>/score`."""
    return {"script": {"lang": "painless", "source": script_source()}}


def script_params(region: Region, scoring: ScoringParams) -> dict[str, Any]:
    """Parameters of the script for one region: hyperboloids, γ, fusion weights, field names and model id."""
    queries = to_float64(region).queries()
    return {
        "vector": scoring.fields.vector,
        "model_field": scoring.fields.model,
        "model": scoring.model_id,
        "centres": np.concatenate([query.centres for query in queries]).tolist(),
        "limits": np.concatenate([query.limits for query in queries]).tolist(),
        "weights": np.concatenate([query.weights for query in queries]).tolist(),
        "gamma": scoring.gamma,
        **scoring.fusion.to_dict(),
        **(_region_params(region, queries) if len(queries) > 1 else {}),
    }


def _region_params(region: Region, queries: Sequence[EncodedQuery]) -> dict[str, Any]:
    """Number of hyperboloids of each query, and how the queries combine: the minimum over alternatives of maxima."""
    counts = [len(query.weights) for query in queries]
    return {"counts": counts, "alternatives": [list(alternative) for alternative in region.alternatives()]}


def too_many_hyperboloids_reason(region: Region) -> str | None:
    """Why a region has too many hyperboloids for the script, or None if it does not."""
    count = sum(len(query.weights) for query in to_float64(region).queries())
    if count <= MAX_HYPERBOLOIDS:
        return None
    return f"the query has {count} hyperboloids, but the script takes at most {MAX_HYPERBOLOIDS}"


def build_score_script(region: Region, scoring: ScoringParams) -> dict[str, Any]:
    """Build the reference to the stored script for a `script_score` that scores one region."""
    return {"id": script_id(), "params": script_params(region, scoring)}


def build_filter_script(region: Region, scoring: ScoringParams, mode: Filter | None = None) -> dict[str, Any]:
    """Build the reference to the stored script for a filter: 1 within limits and slack, 0 outside."""
    mode = mode or Filter()
    slack = scoring.slack if mode.slack is None else mode.slack
    params = {**script_params(region, scoring), "slack": slack, "unknown": float(mode.unknown)}
    return {"id": script_id(), "params": params}
