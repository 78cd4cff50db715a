"""Scores of good pictures by models that have not seen their photograph, of methods whose refit takes seconds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from edgeleather.methods.method import ImageSource, LeavesGroupsOut, LeftOutAnswer, Method, answers_of
from edgeleather.training.loading import ModelImages
from edgeleather.training.run import LeftOutScore

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
        by_group = method.answers_left_out(sources, seed)
        held_out = [
            answer
            for batch in validation.batches(_SCORED_IMAGES)
            for answer in answers_of(*method(torch.from_numpy(batch)))
        ]
    left_out = (
        (index, answer) for name, found in by_group.items() for index, answer in zip(groups[name], found, strict=True)
    )
    scores = [*_per_picture(training, left_out), *_per_picture(validation, enumerate(held_out))]
    return tuple(sorted(scores, key=lambda item: item.name))


def _per_picture(images: ModelImages, answers: Iterable[tuple[int, LeftOutAnswer]]) -> list[LeftOutScore]:
    """The answers to model images, by their index, as those to pictures: the greatest score, the mean of the map's quantiles."""
    of_picture: dict[int, list[LeftOutAnswer]] = {}
    for index, answer in answers:
        of_picture.setdefault(images.sample_of(index), []).append(answer)
    found = []
    for number, tiles in of_picture.items():
        record, most = images.records[number], max(tiles, key=lambda answer: answer.score)
        quantiles = np.mean([answer.statistics[1:] for answer in tiles], axis=0).tolist()
        found.append(LeftOutScore(record.name, record.group, most.score, (most.statistics[0], *quantiles)))
    return found
