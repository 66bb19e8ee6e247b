"""An index on a node with the script, and random queries, points, tables and titles, for the tests of the script."""

import numpy as np

from anthem_core.encoding.attention import AttentionTable
from anthem_core.encoding.packed_titles import MAX_WEIGHT
from anthem_core.encoding.stored_vectors import pack_points, unpack_points
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.fusion import FusionWeights
from anthem_core.geometry import lorentz
from anthem_core.geometry.regions import EncodedQuery
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.scoring import painless
from anthem_plugin.scoring.painless_source import FUNCTIONS_SOURCE
from anthem_plugin.scoring.params import ATTENTION, BOTH, CONTAINMENT, ScoringParams

D = 16
FUSION = FusionWeights(2.0, containment=0.8, median_distance=2.5, attention=1.5, median_attention=-1.0)
SCORING = ScoringParams(
    model_id="0123456789abcdef",
    dimension=D,
    gamma=0.3,
    vector_step=2**-4,
    slack=0.01,
    fusions={CONTAINMENT: FUSION, ATTENTION: FUSION, BOTH: FUSION},
    signals=BOTH,
)
# The query that a script scores: every product's lexical score is the value of its own field.
LEXICAL = {
    "function_score": {
        "field_value_factor": {"field": "lexical", "missing": 1},
        "boost_mode": "replace",
        "query": {"match_all": {}},
    }
}


def create_script_index(client, name):
    """Create an index of one shard for products of dimension D, on a node where the script is stored."""
    own = {"title": {"type": "text"}, "lexical": {"type": "double"}}
    mapping = {"properties": own | ModelFields().mapping(D)["properties"]}
    client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": mapping})
    client.put_script(id=painless.script_id(), body=painless.build_put_script_body(), context=painless.SCRIPT_CONTEXT)


def store(client, index, documents):
    """Index documents with their positions as ids and refresh."""
    lines = [line for number, document in enumerate(documents) for line in ({"index": {"_id": number}}, document)]
    assert not client.bulk(body=lines, index=index, refresh=True)["errors"]


def product(point=None, title=None, model=SCORING.model_id, lexical=1.0):
    """Document of a product with a point, packed trigrams, both or neither."""
    vector = None if point is None else pack_points(point, SCORING.vector_step)
    return {"title": "fire tv", "lexical": lexical} | ModelFields().document(vector, model, ["fire", "tv"], title)


def script_values(client, index, source, params):
    """What a script with the functions of the stored one returns for every product, in the order of ids.

    A `script_fields` script returns values exactly; a score would be rounded to float32.
    """
    script = {"lang": "painless", "source": FUNCTIONS_SOURCE + source, "params": params}
    body = {"size": 1000, "script_fields": {"values": {"script": script}}, "query": {"match_all": {}}}
    hits = client.search(index=index, body=body)["hits"]["hits"]
    by_id = {int(hit["_id"]): hit.get("fields", {}).get("values") for hit in hits}
    return [by_id[number] for number in range(len(by_id))]


def script_scores(client, index, script, query=None):
    """Score of every product from a score script, in the order of ids."""
    body = {"size": 1000, "query": {"script_score": {"query": query or {"match_all": {}}, "script": script}}}
    response = client.search(index=index, body=body)
    assert response["_shards"]["failed"] == 0
    by_id = {int(hit["_id"]): hit["_score"] for hit in response["hits"]["hits"]}
    return np.array([by_id[number] for number in range(len(by_id))])


def random_query(rng, hyperboloids, radius=3.0, weights=None):
    """A query in the form that an encoder returns: float32, centres within the radius."""
    tangent = rng.normal(size=(hyperboloids, D))
    tangent *= radius * rng.random((hyperboloids, 1)) / np.linalg.norm(tangent, axis=-1, keepdims=True)
    limits = rng.random((hyperboloids, D)) * (rng.random((hyperboloids, D)) > 0.2)
    normalised = rng.dirichlet(np.ones(hyperboloids)) if weights is None else np.array(weights)
    empty = np.zeros(0, np.float32)
    return EncodedQuery(
        *(part.astype(np.float32) for part in (lorentz.expmap0(tangent), limits, normalised)), empty, empty
    )


def random_points(rng, count, radius=3.0):
    """Points throughout the ball of the radius, including its boundary."""
    tangent = rng.normal(size=(count, D))
    lengths = np.concatenate([[0.0, radius], radius * rng.random(count - 2)])
    tangent *= lengths[:, None] / np.linalg.norm(tangent, axis=-1, keepdims=True)
    return lorentz.expmap0(tangent).astype(np.float32)


def lifted(points):
    """Points as the script reads them from the index, in whole steps."""
    return unpack_points(pack_points(points, SCORING.vector_step), SCORING.vector_step)


def random_table(rng, trigrams, rows, ids):
    """A table whose rows are drawn from the ids; most of its entries equal the defaults, as in the encoder's tables."""
    own = np.sort(rng.choice(ids, min(rows, len(ids)), replace=False))
    shape = (len(own), trigrams)
    differs = rng.random(shape) < rng.random()
    answered, cells = np.exp(rng.normal(-3, 3, shape)), -3 * rng.random(shape)
    defaults = np.exp(rng.normal(-6, 1, trigrams))
    answered = np.vstack([np.where(differs, answered, defaults), defaults])
    answered_cells = answered * np.vstack([np.where(differs, cells, -1.2), np.full(trigrams, -1.2)])
    return AttentionTable(own, answered, answered_cells, -rng.random(len(own) + 1), rng.dirichlet(np.ones(trigrams)))


def random_titles(rng, count, ids):
    """Packed trigrams of titles: one to 112 of the ids, of which some occur more than once."""
    lengths = rng.integers(1, 113, count)
    weights = rng.integers(0, MAX_WEIGHT + 1, lengths.sum())
    weights[np.cumsum(lengths) - 1 - rng.integers(lengths)] = MAX_WEIGHT
    return TitleEntities(rng.choice(ids, lengths.sum()), weights, lengths).pack()
