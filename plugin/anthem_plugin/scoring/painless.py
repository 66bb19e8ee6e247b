"""The containment formula and its fusion as a stored Painless script; a twin of `anthem_core`'s containment and fusion.

Variables are typed and numbers are cast: the same script with `def` was four to eight times slower.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_plugin.modes import Filter
from anthem_plugin.scoring.params import ScoringParams, to_float64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.geometry.regions import EncodedQuery, Region

SCRIPT_ID_PREFIX = "anthem-containment-"
SCRIPT_CONTEXT = "score"
MAX_HYPERBOLOIDS = 8  # hyperboloids that one script takes

# `seen` gives |z|, which is all that containment asks for. log1p keeps arcsinh exact near zero; Painless has no asinh.
_FUNCTIONS_SOURCE = """\
double at(List list, int i) { return ((Number) list.get(i)).doubleValue(); }

double named(Map params, String name) { return ((Number) params.get(name)).doubleValue(); }

float[] point(Map doc, Map params) {
  def field = params.get('vector'); def model = params.get('model_field');
  if (!doc.containsKey(field) || !doc.containsKey(model)) return null;
  if (doc.get(field).size() == 0 || doc.get(model).size() == 0) return null;
  if (!params.get('model').equals(doc.get(model).value)) return null;
  def value = doc.get(field).value;
  if (!(value instanceof float[])) return null;
  float[] x = (float[]) value;
  return x.length == ((List) ((List) params.get('centres')).get(0)).size() ? x : null;
}

double[] seen(float[] x, List centre) {
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

double distance(double[] z, List limit, double gamma) {
  double outside = 0.0;
  double inside = 0.0;
  for (int i = 0; i < z.length; ++i) {
    double l = at(limit, i);
    double beyond = Math.max(z[i] - l, 0.0);
    double within = Math.min(z[i], l);
    outside += beyond * beyond;
    inside += within * within;
  }
  return Math.sqrt(outside) + gamma * Math.sqrt(inside);
}

// Without `counts` and `alternatives` all hyperboloids are of one query.
List counts(Map params) {
  List found = (List) params.get('counts');
  return found == null ? [((List) params.get('centres')).size()] : found;
}

double joined(double[] leaves, List alternatives) {
  if (alternatives == null) return leaves[0];
  double least = Double.MAX_VALUE;
  for (int a = 0; a < alternatives.size(); ++a) {
    List both = (List) alternatives.get(a);
    double most = -Double.MAX_VALUE;
    for (int i = 0; i < both.size(); ++i) { most = Math.max(most, leaves[((Number) both.get(i)).intValue()]); }
    least = Math.min(least, most);
  }
  return least;
}

double queryDistance(float[] x, Map params) {
  if (x == null) return Double.NaN;
  List centres = (List) params.get('centres');
  List limits = (List) params.get('limits');
  List weights = (List) params.get('weights');
  double gamma = named(params, 'gamma');
  List counts = counts(params);
  double[] each = new double[centres.size()];
  double[] leaves = new double[counts.size()];
  int first = 0;
  for (int q = 0; q < leaves.length; ++q) {
    int last = first + ((Number) counts.get(q)).intValue();
    double nearest = Double.MAX_VALUE;
    for (int k = first; k < last; ++k) {
      each[k] = distance(seen(x, (List) centres.get(k)), (List) limits.get(k), gamma);
      nearest = Math.min(nearest, each[k]);
    }
    double sum = 0.0;
    for (int k = first; k < last; ++k) { sum += at(weights, k) * Math.exp(nearest - each[k]); }
    leaves[q] = nearest - Math.log(sum);
    first = last;
  }
  return joined(leaves, (List) params.get('alternatives'));
}

double excess(float[] x, Map params) {
  List centres = (List) params.get('centres');
  List counts = counts(params);
  double[] leaves = new double[counts.size()];
  int k = 0;
  for (int q = 0; q < leaves.length; ++q) {
    double least = Double.MAX_VALUE;
    for (int last = k + ((Number) counts.get(q)).intValue(); k < last; ++k) {
      double[] z = seen(x, (List) centres.get(k));
      List limit = (List) ((List) params.get('limits')).get(k);
      double worst = -Double.MAX_VALUE;
      for (int i = 0; i < z.length; ++i) { worst = Math.max(worst, z[i] - at(limit, i)); }
      least = Math.min(least, worst);
    }
    leaves[q] = least;
  }
  return joined(leaves, (List) params.get('alternatives'));
}
"""

_SCORE_SOURCE = """\

float[] x = point(doc, params);
if (params.get('slack') != null) {
  if (x == null) return named(params, 'unknown');
  return excess(x, params) <= named(params, 'slack') ? 1.0 : 0.0;
}
double d = queryDistance(x, params);
if (Double.isNaN(d)) d = named(params, 'median_distance');
double s = _score;
double saturated = s / (s + named(params, 'half_saturation'));
double logit = named(params, 'bias') + named(params, 'lexical') * saturated - named(params, 'containment') * d;
double fused = 1.0 / (1.0 + Math.exp(-logit));
double least = params.get('lexical_weight') == null ? 0.0 : named(params, 'lexical_weight') * s;
return fused >= 0.0 ? 1.0 + fused + least : 1.0 + least;
"""

_EXPLAIN_SOURCE = """\

float[] x = point(doc, params);
if (x == null) return [];
return [queryDistance(x, params), excess(x, params)];
"""


def script_source() -> str:
    """Source of the score script: `1 + σ(b + w_l·s/(s+h) − w_c·d)`, never below 1 and never NaN.

    A product without a vector of this model and dimension gets the median distance. With a `slack` among the
    parameters it tells instead whether every `|z_i| ≤ l_i + slack`, 1 or 0, and `unknown` for such a product.
    """
    return _FUNCTIONS_SOURCE + _SCORE_SOURCE


def script_id() -> str:
    """Id of the stored script, versioned by its source: two versions live side by side while a release rolls out."""
    return SCRIPT_ID_PREFIX + hashlib.sha256(script_source().encode()).hexdigest()[:8]


def build_put_script_body() -> dict[str, Any]:
    """Body of `PUT _scripts/<script_id()>/score`."""
    return {"script": {"lang": "painless", "source": script_source()}}


def script_params(query: Region, scoring: ScoringParams) -> dict[str, Any]:
    """Parameters of the scripts for one query: hyperboloids, γ, fusion weights, field names, model id."""
    leaves = to_float64(query).leaves()
    return {
        "vector": scoring.fields.vector,
        "model_field": scoring.fields.model,
        "model": scoring.model,
        "centres": np.concatenate([leaf.centres for leaf in leaves]).tolist(),
        "limits": np.concatenate([leaf.limits for leaf in leaves]).tolist(),
        "weights": np.concatenate([leaf.weights for leaf in leaves]).tolist(),
        "gamma": scoring.gamma,
        **scoring.fusion.to_dict(),
        **(_join_params(query, leaves) if len(leaves) > 1 else {}),
    }


def _join_params(query: Region, leaves: Sequence[EncodedQuery]) -> dict[str, Any]:
    """Which hyperboloids are whose, and how the queries are joined: the least over alternatives of the most of each."""
    counts = [len(leaf.weights) for leaf in leaves]
    return {"counts": counts, "alternatives": [list(one) for one in query.alternatives()]}


def hyperboloid_limit_reason(region: Region) -> str | None:
    """Why the script does not take a region, or None where it does."""
    count = sum(len(leaf.weights) for leaf in to_float64(region).leaves())
    return (
        f"the query has {count} hyperboloids and the script takes {MAX_HYPERBOLOIDS}"
        if count > MAX_HYPERBOLOIDS
        else None
    )


def build_score_script(query: Region, scoring: ScoringParams) -> dict[str, Any]:
    """The stored script with the parameters of one query, for a `script_score`."""
    return {"id": script_id(), "params": script_params(query, scoring)}


def build_filter_script(query: Region, scoring: ScoringParams, how: Filter | None = None) -> dict[str, Any]:
    """The stored script with the parameters of a filter: 1 for a product within limits and slack, 0 for one outside."""
    how = how or Filter()
    slack = scoring.slack if how.slack is None else how.slack
    return {
        "id": script_id(),
        "params": {**script_params(query, scoring), "slack": slack, "unknown": float(how.unknown)},
    }


def build_explain_script(query: Region, scoring: ScoringParams) -> dict[str, Any]:
    """Script for `script_fields` that returns `[distance, excess]` of a product, or `[]` for one without a vector."""
    return {"lang": "painless", "source": _FUNCTIONS_SOURCE + _EXPLAIN_SOURCE, "params": script_params(query, scoring)}
