"""Tiny bundles that a training can start from, without graphs."""

from dataclasses import replace

import numpy as np
import torch

from anthem_core.encoding.bundle import (
    ALL_SIGNALS,
    LEXICAL_ATTENTION,
    LEXICAL_CONTAINMENT,
    PRODUCT_GRAPH,
    QUERY_GRAPH,
    Bundle,
    compute_model_id,
    save_manifest,
    write_vocabulary,
)
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.fusion import FusionWeights
from anthem_model.base_model import write_training_file
from anthem_model.calibration import Calibration
from anthem_model.checkpoint import Checkpoint
from anthem_model.initialisation.coordinates import TeacherCoordinates
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem

VOCABULARY = Vocabulary(("#re", "red", "ed#"), buckets=24, words=("kettle", "red"))
FUSION = {
    LEXICAL_CONTAINMENT: FusionWeights(4.0, 3.0, 1.0),
    LEXICAL_ATTENTION: FusionWeights(4.0, attention=2.0, median_attention=-0.5),
    ALL_SIGNALS: FusionWeights(4.0, 3.0, 1.0, 2.0, -0.5),
}
COORDINATES = TeacherCoordinates("letters", np.linspace(0, 1, 7, dtype=np.float32), np.eye(7, 8, dtype=np.float32) / 3)


def build_base(seed=0, geometry="lorentz", vocabulary=VOCABULARY, coordinates=COORDINATES, hyperboloids=2):
    """A tiny rounded model with random weights, and entities of very different lengths."""
    torch.manual_seed(seed)
    shape = {
        "dimension": 8,
        "hyperboloids": hyperboloids,
        "grid": 4,
        "places": vocabulary.title_limit,
        "geometry": geometry,
    }
    model = Anthem(ModelShape(len(vocabulary), **shape)).eval()
    space, points = model.shape.space, model.entities.points
    with torch.no_grad():
        points.copy_(space.expmap0(10 ** (4 * torch.rand(len(vocabulary), 1) - 4) * space.logmap0(points)))
        for table in (model.entities.salience, model.query.extent):
            torch.nn.init.normal_(table.weight)
    model.round_tables()
    return Checkpoint(model, vocabulary, Calibration(0.25, FUSION), ["tiny"], {"ndcg": 0.5}, coordinates)


def write_bundle(checkpoint, folder, *, has_training_file=True):
    """Write the files of a checkpoint's bundle that loading checks; its graphs, which no training reads, are text."""
    folder.mkdir(exist_ok=True)
    for name in (QUERY_GRAPH, PRODUCT_GRAPH):
        (folder / name).write_text("a graph")
    write_vocabulary(checkpoint.vocabulary, folder)
    if has_training_file:
        write_training_file(checkpoint, folder)
    shape, calibration = checkpoint.model.shape, checkpoint.calibration
    sizes = (shape.dimension, shape.hyperboloids, shape.radius, shape.gamma, 0.5, calibration.slack)
    notes = (checkpoint.trained_on, checkpoint.quality, {})
    bundle = Bundle(folder, "", *sizes, checkpoint.vocabulary, calibration.fusion, *notes)
    save_manifest(replace(bundle, model_id=compute_model_id(folder, bundle.rules())))
    return folder
