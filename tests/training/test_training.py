"""The training frame, with memory-bank and with a tiny method that has a gradient."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from safetensors.torch import load_file  # noqa: E402

from edgeleather.dataset.reading import read_dataset  # noqa: E402
from edgeleather.errors import EdgeLeatherError  # noqa: E402
from edgeleather.methods import method as methods  # noqa: E402
from edgeleather.methods.method import Method  # noqa: E402
from edgeleather.training.checkpoints import CHECKPOINT_FILE  # noqa: E402
from edgeleather.training.run import read_run  # noqa: E402
from edgeleather.training.training import load_trained, train  # noqa: E402
from tests.tiny import settings  # noqa: E402


class TinyAutoencoder(Method):
    """Learns to repeat a shrunken picture; real gradients, a second an epoch at most."""

    stop_after = None  # epoch at whose end the power fails

    def __init__(self, backbone, image_size_hw):
        super().__init__(backbone, image_size_hw)
        self.encode = torch.nn.Conv2d(3, 2, 5, padding=2)
        self.decode = torch.nn.Conv2d(2, 3, 5, padding=2)
        self.epochs_seen = 0

    def load_backbone(self, weights):
        pass

    def residual(self, image):
        small = torch.nn.functional.avg_pool2d(image.permute(0, 3, 1, 2) / 255.0, 4)
        noisy = small + 0.05 * torch.randn_like(small) if self.training else small
        return (self.decode(torch.tanh(self.encode(noisy))) - small).square().mean(1, keepdim=True)

    def training_step(self, image, frozen):
        return self.residual(image).mean()

    def validation_loss(self, image, frozen):
        return self.residual(image).mean()

    def anomaly_map(self, image):
        return torch.nn.functional.interpolate(self.residual(image), size=self.image_size_hw, mode="bilinear")[:, 0]

    def end_epoch(self, seed):
        self.epochs_seen += 1
        if self.epochs_seen == type(self).stop_after:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def tiny_method(monkeypatch):
    monkeypatch.setitem(methods.METHODS, "tiny", f"{__name__}:TinyAutoencoder")
    monkeypatch.setattr(TinyAutoencoder, "stop_after", None)


@pytest.fixture
def dataset(dataset_folder):
    return read_dataset(dataset_folder, needs="train")


def tiny(**changes):
    return settings(**{"method": "tiny", "epochs": 4, "learning_rate": 0.02, **changes})


def test_a_run_records_settings_pictures_losses_and_versions(dataset, tmp_path):
    run = train(dataset, tiny(), tmp_path / "run")
    assert read_run(tmp_path / "run") == run
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["run.json", "weights.safetensors"]
    assert [losses.epoch for losses in run.losses] == [1, 2, 3, 4]
    assert run.losses[-1].training < run.losses[0].training
    assert len(run.splits.training) + len(run.splits.validation) + len(run.splits.threshold) == 24
    assert run.versions["torch"] == torch.__version__.split("+")[0] or run.versions["torch"] == torch.__version__


def test_the_same_seed_agrees_to_the_bit_and_another_differs(dataset, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(dataset, tiny(seed=seed), tmp_path / name)
    a, b, c = (load_file(tmp_path / name / "weights.safetensors") for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["encode.weight"], c["encode.weight"])


def test_the_callers_generator_draws_on_as_if_nothing_had_been_trained(dataset, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run = train(dataset, tiny(epochs=1), tmp_path / "run")
    load_trained(run, tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_an_interrupted_training_goes_on_to_the_same_weights(dataset, tmp_path, monkeypatch):
    train(dataset, tiny(), tmp_path / "whole")
    monkeypatch.setattr(TinyAutoencoder, "stop_after", 3)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tiny(), tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [CHECKPOINT_FILE]
    monkeypatch.setattr(TinyAutoencoder, "stop_after", None)
    resumed = train(dataset, tiny(), tmp_path / "cut")
    assert len(resumed.losses) == 4
    whole, cut = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_other_settings_do_not_go_on_with_an_interrupted_training(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(TinyAutoencoder, "stop_after", 2)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tiny(), tmp_path / "run")
    with pytest.raises(EdgeLeatherError, match="interrupted training of other settings"):
        train(dataset, tiny(learning_rate=0.5), tmp_path / "run")


def test_a_damaged_checkpoint_is_one_clear_error(dataset, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CHECKPOINT_FILE).write_bytes(b"half a checkpoint")
    with pytest.raises(EdgeLeatherError, match="expected a safetensors file"):
        train(dataset, tiny(), tmp_path / "run")


def test_training_stops_early_and_keeps_the_best_epoch(dataset, tmp_path):
    run = train(dataset, tiny(epochs=60, learning_rate=0.5, patience_epochs=2), tmp_path / "run")
    validation = [losses.validation for losses in run.losses]
    assert len(run.losses) < 60 and run.best_epoch == len(run.losses) - 2
    assert min(validation) == validation[run.best_epoch - 1]
    method = load_trained(run, tmp_path / "run")
    with torch.inference_mode():
        loss = torch.stack([method.validation_loss(batch, []) for batch in _validation_images(run, dataset)]).mean()
    assert float(loss) == pytest.approx(min(validation), rel=1e-4)


def _validation_images(run, dataset):
    from edgeleather.imaging.preprocess import prepare

    names = {record.name for record in run.splits.validation}
    for sample in dataset.train_good:
        if sample.name in names:
            yield torch.from_numpy(prepare(sample.read(), run.settings.input_mode).images)


def test_a_loss_that_is_not_finite_ends_with_what_to_do(dataset, tmp_path):
    with pytest.raises(EdgeLeatherError, match=r"loss is (nan|inf)"):
        train(dataset, tiny(learning_rate=1e30), tmp_path / "run")


def test_a_finished_run_is_returned_for_the_same_settings_and_kept_from_others(dataset, tmp_path):
    run = train(dataset, tiny(), tmp_path / "run")
    assert train(dataset, tiny(), tmp_path / "run") == run
    with pytest.raises(EdgeLeatherError, match="finished run of other settings"):
        train(dataset, tiny(seed=9), tmp_path / "run")


def test_a_folder_with_something_else_in_it_is_not_touched(dataset, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    with pytest.raises(EdgeLeatherError, match="got something else"):
        train(dataset, tiny(), tmp_path / "photos")


def test_memory_bank_scores_every_good_picture_without_its_photograph(run_folder):
    if not run_folder.is_dir():
        pytest.skip("the bundle was given without its run")
    run = read_run(run_folder)
    held = {record.name for record in (*run.splits.training, *run.splits.validation)}
    assert {item.name for item in run.left_out_scores} == held
    assert run.splits.by == "group"


def test_a_damaged_run_is_one_clear_error(dataset, tmp_path):
    train(dataset, tiny(), tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"surprise": 1}))
    with pytest.raises(EdgeLeatherError, match="unknown key 'surprise'"):
        read_run(tmp_path / "run")
    with pytest.raises(EdgeLeatherError, match="expected a run folder"):
        read_run(tmp_path / "absent")
