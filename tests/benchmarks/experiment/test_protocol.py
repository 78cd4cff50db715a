from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeleather.benchmarks.experiment.figures import class_samples, maps_of_methods
from edgeleather.benchmarks.experiment.findings import findings
from edgeleather.benchmarks.experiment.protocol import ScoredMaps, measure
from edgeleather.benchmarks.experiment.tables import better_table, protocol_table
from edgeleather.dataset.reading import Sample, read_dataset

OF_PIXELS = (
    "iou_t1", "iou_t2", "pro_t1", "pro_t2", "pixel_auroc", "aupro", "iou_t1_defective", "iou_t2_defective",
    "pixel_auroc_cleared", "iou_t2_interval", "t2",
)  # fmt: skip
NAMED = {"method": "stfpm", "trained_on": "first", "tested_on": "first", "precision": "fp32"}


def scored_maps(seed, pictures=12):
    """Noise with a bright square in every second picture, and its mask."""
    rng = np.random.default_rng(seed)
    maps, masks, samples = [], [], []
    for number in range(pictures):
        found, mask = rng.normal(size=(48, 48)).astype(np.float32), np.zeros((48, 48), np.uint8)
        if number % 2:
            found[10:20, 10:20] += 3.0
            mask[11:21, 10:20] = 1
        name = f"test/{'cut' if number % 2 else 'good'}/{number}.png"
        samples.append(Sample(Path(name), name, name.split("/")[1], f"{seed}-{number}"))
        maps.append(found)
        masks.append(mask)
    return ScoredMaps(tuple(samples), tuple(maps), tuple(masks), rng.random(pictures), np.ones(pictures), 1.0)


def unmarked(found, keep=0):
    """The same with the masks of the first `keep` defects alone."""
    defects = [index for index, defective in enumerate(found.defective) if defective]
    gone = set(defects[keep:])
    return replace(found, masks=tuple(None if index in gone else mask for index, mask in enumerate(found.masks)))


def row_of(fitted, scored):
    return asdict(measure(fitted, scored, None, 2.5, seed=0)) | NAMED


def test_without_masks_what_is_of_pixels_is_none_and_the_tables_have_dashes():
    fitted, scored = scored_maps(1), scored_maps(2)
    whole, row = row_of(fitted, scored), row_of(unmarked(fitted), unmarked(scored))
    assert all(row[key] is None and whole[key] is not None for key in OF_PIXELS)
    assert {key for key in whole if row[key] == whole[key]} >= {"image_auroc", "f1_t1", "f1_t3", "t3", "scored_images"}
    line = protocol_table([row], ("first", "first"))[-1]
    assert line.startswith("| stfpm | fp32 | - (") and line.count("| - (") == 5
    assert "None" not in line + better_table([row])[-1]
    sentences = findings([row], {"first": "one", "second": "many", "both": "both"})
    assert not any("IoU" in sentence or "PRO" in sentence for sentence in sentences)
    assert any(sentence.startswith("F1 is higher") for sentence in sentences)


def test_with_masks_of_some_the_figures_are_of_these():
    fitted, scored = scored_maps(1), scored_maps(2)
    row, whole = row_of(fitted, unmarked(scored, keep=2)), row_of(fitted, scored)
    marked = [i for i, mask in enumerate(unmarked(scored, keep=2).masks) if mask is not None]
    above = np.stack([scored.maps[i] > 2.5 for i in marked])
    truth = np.stack([scored.masks[i] > 0 for i in marked])
    assert row["iou_t1"] == pytest.approx((above & truth).sum() / (above | truth).sum(), abs=1e-3)
    assert row["t2"] == whole["t2"] and row["image_auroc"] == whole["image_auroc"]
    assert row["iou_t2_interval"] is not None


def test_the_figures_are_drawn_without_masks(dataset_folder, tmp_path):
    dataset = read_dataset(dataset_folder, needs="test")
    bare = replace(dataset, test=tuple(replace(sample, mask_paths=()) for sample in dataset.test))
    drawn, plain = (cv2.imdecode(np.frombuffer(class_samples(d), np.uint8), 1) for d in (dataset, bare))
    assert drawn.shape == plain.shape and np.any(drawn != plain)
    saved = {"anomaly_map": np.eye(64, dtype=np.float32), "picture": str(dataset.test[0].path)}
    np.savez(tmp_path / "none.npz", t2=np.nan, **saved)
    np.savez(tmp_path / "some.npz", t2=0.5, **saved)
    none, some = (maps_of_methods([("stfpm", tmp_path / name)]) for name in ("none.npz", "some.npz"))
    assert none != some
