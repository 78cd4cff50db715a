"""What a user chooses of a training is checked where it is chosen; no torch is needed for it."""

from __future__ import annotations

import math

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.training.choices import TrainingChoices


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input_kind": "tile"}, "expected the input kind to be one of resize, tiles, got 'tile'"),
        ({"fit": "bogus"}, "expected the fit to be one of exact, crop, stretch, got 'bogus'"),
        ({"epochs": 0}, "expected the number of epochs to be at least 1, got 0"),
        ({"epochs": 1.5}, "expected the number of epochs to be at least 1, got 1.5"),
        ({"patience": 0}, "expected the patience to be at least 1, got 0"),
        ({"image_size": 8}, "expected the image size to be 32 to 2048, got 8"),
        ({"white_level": 70_000}, "expected the white level to be 1 to 65535, got 70000"),
        ({"seed": -1}, "expected the seed to be 0 to 2147483647, got -1"),
        ({"learning_rate": 0.0}, "expected the learning rate to be more than 0, got 0"),
        ({"learning_rate": math.nan}, "expected the learning rate to be more than 0, got nan"),
    ],
)
def test_a_choice_that_is_out_of_its_range_is_refused(values, message):
    with pytest.raises(EdgeLeatherError, match=message):
        TrainingChoices(**values)
