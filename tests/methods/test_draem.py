from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.dataset.reading import read_dataset  # noqa: E402
from edgeleather.errors import EdgeLeatherError  # noqa: E402
from edgeleather.imaging.images import write_image  # noqa: E402
from edgeleather.methods.draem import Draem, DraemSettings, as_planes, focal_loss  # noqa: E402
from edgeleather.methods.method import build_method  # noqa: E402
from edgeleather.training.run import read_run  # noqa: E402
from edgeleather.training.training import load_trained, train  # noqa: E402
from tests.tiny import settings  # noqa: E402


def images(count, side=64, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(60, 120, (count, side, side, 3), dtype=np.uint8))


def test_width_scales_both_networks_and_the_originals_is_128():
    def parameters(width):
        return sum(p.numel() for p in build_method("draem", "none", (64, 64), DraemSettings(width=width)).parameters())

    assert 3.5 < parameters(16) / parameters(8) < 4.1
    assert sum(p.numel() for p in Draem("none", (64, 64)).parameters()) == parameters(128)


def test_focal_loss_is_that_of_the_paper():
    logit, mask = torch.tensor([[-2.0, 0.5], [3.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    p = torch.sigmoid(logit)
    right = torch.where(mask > 0.5, p, 1 - p)
    assert focal_loss(logit, mask).item() == pytest.approx((-((1 - right) ** 2) * right.log()).mean().item(), rel=1e-5)
    assert torch.isfinite(focal_loss(torch.tensor([1e4, -1e4]), torch.tensor([0.0, 1.0])))


def test_the_map_is_a_probability_of_the_images_size_with_true_means_at_the_edge():
    method = Draem("none", (48, 80), DraemSettings(width=4)).eval()
    with torch.inference_mode():
        maps, scores = method(torch.zeros(2, 48, 80, 3, dtype=torch.uint8))
        assert maps.shape == (2, 48, 80) and maps.min() >= 0 and maps.max() <= 1
        assert torch.equal(scores, maps.amax((1, 2)))
        method.to_logit.weight.zero_()
        method.to_logit.bias.fill_(1.0)
        flat, _ = method(images(1, 48).expand(1, 48, 48, 3))
    assert torch.allclose(flat, torch.sigmoid(torch.tensor(1.0)).expand_as(flat), atol=1e-6)


def test_pixels_are_only_scaled():
    planes = as_planes(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8))
    assert planes.shape == (1, 3, 1, 1) and planes.flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])


def test_validation_pastes_the_same_textures_each_time():
    method = Draem("none", (64, 64), DraemSettings(width=4)).eval()
    batch = images(4)
    with torch.inference_mode():
        assert method.validation_loss(batch, []) == method.validation_loss(batch, [])


def test_a_users_textures_are_used_and_only_their_folders_name_is_kept(dataset_folder, tmp_path):
    folder = tmp_path / "textures"
    folder.mkdir()
    write_image(folder / "green.png", np.full((80, 80, 3), (0, 255, 0), np.uint8))
    dataset = read_dataset(dataset_folder, needs="train")
    chosen = {"method": "draem", "backbone": "none", "epochs": 1, "learning_rate": 1e-3}
    own = {"width": 4, "textures": None}
    train(dataset, settings(**chosen, own=own | {"textures": str(folder)}), tmp_path / "with")
    train(dataset, settings(**chosen, own=own), tmp_path / "without")
    states = [load_trained(read_run(tmp_path / name), tmp_path / name).state_dict() for name in ("with", "without")]
    assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0])
    with pytest.raises(EdgeLeatherError, match="expected a folder of texture pictures"):
        train(dataset, settings(**chosen, own=own | {"textures": str(tmp_path / "absent")}), tmp_path / "third")
    with pytest.raises(EdgeLeatherError, match="memory-bank has no option --textures: leave it away"):
        train(dataset, settings(own={"textures": str(folder)}), tmp_path / "third")
    assert not (tmp_path / "third").exists()
