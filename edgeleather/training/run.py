"""The run: what training leaves behind, `run.json` and `weights.safetensors`. Reading run.json needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import InputMode
from edgeleather.methods.settings import Scalar
from edgeleather.records import read_record

RUN_FILE = "run.json"
WEIGHTS_FILE = "weights.safetensors"
CHECKPOINT_FILE = "checkpoint.safetensors"
SUSPECTS_FILE, SHEET_FILE = "suspects.csv", "suspects.jpg"


class RunMismatchError(EdgeLeatherError):
    """What lies in a run folder is damaged or of another training, so that this one cannot go on with it."""


@dataclass(frozen=True)
class TrainingSettings:
    """What a user chooses of a training; where nothing was chosen it is the preset's.

    `suspects` says what is done with good pictures that may not be good: the default, or what a list of the user's says.
    `article` is the one that is trained on, "" for a dataset without articles. `own` has the method's own settings by name: as
    plain values, so that a run can be read where the method, which needs torch, cannot be imported.
    """

    method: str
    preset: str
    backbone: str
    weights: str
    input_mode: InputMode
    epochs: int
    learning_rate: float
    batch_images: int
    patience_epochs: int
    suspects: Literal["leave-out", "keep", "listed"]
    article: str
    own: dict[str, Scalar]
    seed: int


@dataclass(frozen=True)
class ImageRecord:
    """A picture that took part: its path inside the dataset, photograph, and digest of its pixels."""

    name: str
    group: str
    digest: str


Use = Literal["leave out", "not for the threshold", "keep"]
DEFAULT_USES: dict[str, Use] = {"a part stands out": "leave out", "unlike all others": "not for the threshold"}


@dataclass(frozen=True)
class Suspect:
    """A good picture that may not be good, why, and what it is used for.

    `part_mads` and `whole_mads` say how far the peak and the median of its map lie from the other pictures', in scaled median
    absolute deviations.
    """

    name: str
    group: str
    digest: str
    reason: str
    part_mads: float
    whole_mads: float
    use: Use


@dataclass(frozen=True)
class Splits:
    """Which pictures went where; `t2_t3` are test pictures. Good ones were kept together by `by`.

    Of the `suspects`, those to leave out are in no part, and those that set no threshold are in `training` or `validation`.
    """

    by: str
    training: tuple[ImageRecord, ...]
    validation: tuple[ImageRecord, ...]
    threshold: tuple[ImageRecord, ...]
    t2_t3: tuple[ImageRecord, ...]
    suspects: tuple[Suspect, ...]

    @property
    def untypical(self) -> frozenset[str]:
        """The names of the pictures that set no threshold."""
        return frozenset(one.name for one in self.suspects if one.use == "not for the threshold")


@dataclass(frozen=True)
class EpochLosses:
    """Mean losses of one epoch; `training` is None for a method that has no gradient."""

    epoch: int
    training: float | None
    validation: float


@dataclass(frozen=True)
class LeftOutScore:
    """The score of a good picture under a model refitted without that picture's photograph, and what its map was like.

    `answer` has the statistics that `imaging.appearance.ANSWER` names; it is empty in a run that was trained by version 0.1.
    """

    name: str
    group: str
    score: float
    answer: tuple[float, ...]


@dataclass(frozen=True)
class Run:
    """Everything about a training: settings, pictures, versions, losses. Losses are of epoch 1 to the last one run."""

    schema: Literal[5]
    created_at: str
    edgeleather: str
    settings: TrainingSettings
    dataset: str
    splits: Splits
    versions: dict[str, str]
    losses: tuple[EpochLosses, ...]
    best_epoch: int
    training_seconds: float
    left_out_scores: tuple[LeftOutScore, ...]


def read_run(folder: Path) -> Run:
    """Read a run folder's record.

    Raises:
        EdgeLeatherError: there is none, it is damaged, or its weights are missing.
    """
    if not folder.is_dir():
        raise EdgeLeatherError(f"expected a run folder at {folder}, found none. Make one with: edgeleather train")
    run = read_record(Run, folder / RUN_FILE, "Train again with: edgeleather train", UPGRADES)
    if not (folder / WEIGHTS_FILE).is_file():
        raise EdgeLeatherError(f"{folder}: expected {WEIGHTS_FILE} beside {RUN_FILE}, found none. Train again.")
    return run


def check_run_folder(out: Path) -> None:
    """Whether a training may leave its run here; asked before pictures are read, and again after.

    Raises:
        RunMismatchError: something is there that is neither a run nor an interrupted one.
    """
    if not os.path.lexists(out) or (out / RUN_FILE).exists():
        return
    names = [path.name for path in out.iterdir()] if out.is_dir() else [out.name]
    began = (CHECKPOINT_FILE, SUSPECTS_FILE, SHEET_FILE)
    if not out.is_dir() or any(name not in began and not name.endswith(".partial") for name in names):
        raise RunMismatchError(
            f"expected a new folder, an empty one or an interrupted run at {out}, got something else. Choose another --out."
        )


def from_schema_3(data: dict[str, Any]) -> dict[str, Any]:
    """A run of schema 3 as one of schema 4: what draem alone had moves into the method's own settings."""
    settings = dict(data["settings"])
    width, textures = settings.pop("width"), settings.pop("textures")
    seed = settings.pop("seed")
    own = {} if width is None else {"width": width, "textures": textures}
    left_out = [score | {"answer": []} for score in data["left_out_scores"]]
    return data | {"schema": 4, "settings": settings | {"own": own, "seed": seed}, "left_out_scores": left_out}


def from_schema_4(data: dict[str, Any]) -> dict[str, Any]:
    """A run of schema 4 as one of schema 5: it took all good pictures for good and knew no articles."""
    settings, splits = {"suspects": "keep", "article": ""} | data["settings"], {"suspects": []} | data["splits"]
    if settings["method"] == "memory-bank":  # its features were those of two layers, as they are
        settings["own"] = {"fine_layer": False, "mean_share": 0.0} | settings["own"]
    return data | {"schema": 5, "settings": settings, "splits": splits}


UPGRADES = {3: from_schema_3, 4: from_schema_4}
