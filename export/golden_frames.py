"""The choice of a bundle's golden frames."""

from __future__ import annotations

import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.golden import GOLDEN_FOLDER
from edgeleather.dataset.defects import DEFECTS, paste_defect

_PAIRS = 4


def golden_frames(held_out_rgb: list[UInt8Array], seed: int) -> dict[str, UInt8Array]:
    """At most eight frames by file name: held-out normals [h, w, 3] at model size, and each with a synthetic defect."""
    rng = np.random.default_rng((seed, 8))
    kinds = rng.permutation(sorted(DEFECTS))
    frames = {}
    for index, image in enumerate(held_out_rgb[:_PAIRS]):
        frames[f"{GOLDEN_FOLDER}/{index}-good.png"] = image
        frames[f"{GOLDEN_FOLDER}/{index}-{kinds[index]}.png"], _ = paste_defect(image, str(kinds[index]), rng)
    return frames
