"""A trained method as one ONNX graph: `image` uint8 [batch, h, w, 3] to `anomaly_map` and `anomaly_score`."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from edgeleather.arrays import UInt8Array
from edgeleather.backbones.backbone import Backbone
from edgeleather.calibration.quantised_layers import NETWORKS_KEY
from edgeleather.engines.engine import Engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import LEAST_CONTRAST, contrast_of
from edgeleather.methods.method import Method

MAP_TOLERANCE = 1e-4  # of the map's range, torch against ONNX Runtime
BATCH_TOLERANCE = 1e-5  # of the score, alone against in a batch


def to_onnx(method: Method) -> bytes:
    """Export a method with a dynamic batch; the file needs no external data.

    Raises:
        EdgeLeatherError: torch cannot export this method.
    """
    deployed = copy.deepcopy(method).eval()
    for module in deployed.modules():
        if isinstance(module, Backbone):
            module.fold_normalisation()
    height, width = method.image_size_hw
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    try:
        quiet.setLevel(logging.ERROR)
        # An exception to leaving the caller's process alone: for these seconds standard output is swapped for all threads, since
        # what torch's exporter prints would stand in front of a command's JSON, and it takes no other stream.
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            tempfile.TemporaryDirectory() as work,
        ):
            warnings.simplefilter("ignore")  # deprecations inside torch's exporter, none of them the user's
            program = torch.onnx.export(
                deployed,
                (example,),
                dynamo=True,
                input_names=["image"],
                output_names=["anomaly_map", "anomaly_score"],
                dynamic_shapes={"image": {0: batch}},
                verbose=False,
            )
            assert program is not None
            path = Path(work) / "graph.onnx"
            program.save(path, external_data=False)
            model = onnx.load(path)
    except torch.onnx.errors.OnnxExporterError as error:
        raise EdgeLeatherError(f"torch could not export this method to ONNX: {error}") from error
    finally:
        quiet.setLevel(level)
    _strip(model)
    model.metadata_props.add(key=NETWORKS_KEY, value=" ".join(method.networks))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _strip(model: onnx.ModelProto) -> None:
    """Remove what torch writes beside the graph: stack traces, with the paths of the machine that exported."""
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""


def _likely_cause(images: UInt8Array) -> str:
    """Why maps differ by more than a share of their range: pictures without structure give maps with hardly any range."""
    contrast = contrast_of(images)
    if contrast < LEAST_CONTRAST:
        return (
            f"The good pictures are flat: their values vary by {contrast:.2g} of 255, so that the maps hold little but rounding. "
            "They are overexposed or underexposed, or show no leather: take others."
        )
    return "This is a fault of the export or of ONNX Runtime, not of the data: report it."


def prove(method: Method, engine: Engine, images: UInt8Array) -> float:
    """Compare torch with an engine on real images [n, h, w, 3]; returns the worst deviation as a share of the map's range.

    Raises:
        EdgeLeatherError: the maps differ by more than 1e-4 of their range, a score is not its map's maximum, or a score
            depends on the batch by more than 1e-5 of it.
    """
    together = engine.infer(images)
    alone = np.concatenate([engine.infer(image[None]).scores for image in images])
    with torch.inference_mode():
        expected = np.concatenate([method(torch.from_numpy(image[None]))[0].numpy() for image in images])
    value_range = float(expected.max() - expected.min())
    deviation = float(np.abs(together.maps - expected).max()) / max(value_range, 1e-12)
    if not deviation <= MAP_TOLERANCE:
        raise EdgeLeatherError(
            f"export refused: ONNX Runtime's maps differ from torch's by {deviation:.2g} of their range "
            f"({MAP_TOLERANCE:g} allowed). {_likely_cause(images)}"
        )
    in_batch = float(np.max(np.abs(together.scores - alone) / np.maximum(np.abs(alone), 1e-12)))
    if not in_batch <= BATCH_TOLERANCE:
        raise EdgeLeatherError(
            f"export refused: scores change by {in_batch:.2g} with the batch ({BATCH_TOLERANCE:g} allowed)."
        )
    if not np.array_equal(together.scores, together.maps.max(axis=(1, 2))):
        raise EdgeLeatherError("export refused: the graph's anomaly_score is not its map's maximum.")
    return deviation
