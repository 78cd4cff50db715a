"""Scores of good pictures by models that have not seen their photograph, of methods whose refit takes seconds."""

from __future__ import annotations

import math

import torch

from edgeleather.methods.method import ImageSource, LeavesGroupsOut, Method
from edgeleather.training.loading import ModelImages
from edgeleather.training.run import ImageRecord, LeftOutScore

_SCORED_IMAGES = 8  # at a time; scores do not depend on it


def scores_left_out(
    method: Method, training: ModelImages, validation: ModelImages, seed: int
) -> tuple[LeftOutScore, ...]:
    """Scores of training and validation pictures by a method without their photograph, where refitting is cheap."""
    if not isinstance(method, LeavesGroupsOut):
        return ()
    groups = {record.group: training.of_group(record.group) for record in training.records}

    def source(indices: list[int]) -> ImageSource:
        return lambda: map(torch.from_numpy, training.batches(_SCORED_IMAGES, indices))

    sources = {group: source(indices) for group, indices in sorted(groups.items())}
    with torch.inference_mode():
        by_group = method.scores_left_out(sources, seed)
        held_out = [
            float(s) for batch in validation.batches(_SCORED_IMAGES) for s in method(torch.from_numpy(batch))[1]
        ]
    scores = [
        LeftOutScore(record.name, record.group, score) for record, score in _per_image(training, groups, by_group)
    ]
    everything = {"": list(range(len(validation)))}
    scores += [
        LeftOutScore(record.name, record.group, score)
        for record, score in _per_image(validation, everything, {"": held_out})
    ]
    return tuple(sorted(scores, key=lambda item: item.name))


def _per_image(
    images: ModelImages, indices: dict[str, list[int]], scores: dict[str, list[float]]
) -> list[tuple[ImageRecord, float]]:
    """A frame's score is the maximum over its tiles."""
    best: dict[int, float] = {}
    for key, values in scores.items():
        for index, value in zip(indices[key], values, strict=True):
            number = images.sample_of(index)
            best[number] = max(best.get(number, -math.inf), value)
    return [(images.records[number], value) for number, value in best.items()]
