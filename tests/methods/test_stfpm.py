from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.methods.moments import Moments  # noqa: E402
from edgeleather.methods.stfpm import Stfpm  # noqa: E402
from edgeleather.methods.teacher import half_squared_distance  # noqa: E402

BACKBONES = ("efficientnet-lite0", "resnet18")


def images(count, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(60, 120, (count, 64, 64, 3), dtype=np.uint8))


def begun(backbone="resnet18"):
    torch.manual_seed(0)
    method = Stfpm(backbone, (64, 64))
    batch = images(4)
    with torch.no_grad():
        method.begin([(batch, method.frozen_features(batch))])
    return method


def test_the_distance_is_that_of_unit_vectors():
    a, b, scale = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4), torch.rand(5) + 0.5
    unit = [torch.nn.functional.normalize(x.double()) for x in (a, b * scale.view(1, 5, 1, 1))]
    expected = 0.5 * (unit[0] - unit[1]).square().sum(1)
    assert torch.allclose(half_squared_distance(a, b, scale).double(), expected, atol=1e-5)


def test_vectors_of_zeros_are_at_no_distance_from_each_other():
    zero, one = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    assert half_squared_distance(zero, zero, torch.ones(zero.shape[1])).abs().max() == 0
    assert torch.allclose(half_squared_distance(zero, one, torch.ones(zero.shape[1])), torch.full((1, 2, 2), 0.5))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_loss_falls_and_the_teacher_stays(backbone):
    method = begun(backbone)
    before = {name: value.clone() for name, value in method.teacher.state_dict().items()}
    optimizer = method.build_optimizer([p for p in method.parameters() if p.requires_grad], 0.1)
    losses = []
    for _ in range(8):
        method.train()
        batch = images(4)
        loss = method.training_step(batch, method.frozen_features(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(before[name], value) for name, value in method.teacher.state_dict().items())


def test_the_map_is_the_geometric_mean_of_the_levels_at_the_finest_grid():
    method = begun().eval()
    batch = images(2, seed=5)
    with torch.no_grad():
        levels = method._distances(batch, method.frozen_features(batch))
        product = torch.ones(())
        for level in levels:
            size = levels[0].shape[1:]
            product = product * torch.nn.functional.interpolate(level[:, None], size=size, mode="bilinear")
        root = torch.nn.functional.interpolate(product ** (1 / 3), size=(64, 64), mode="bilinear")
        expected = method.blur(root[:, 0])
        anomaly_map, score = method(batch)
    assert len(levels) == 3 and torch.allclose(anomaly_map, expected, atol=1e-6)
    assert torch.equal(score, anomaly_map.amax((1, 2)))


def test_teacher_channels_are_standardised_by_the_training_images():
    method = begun()
    level = method.frozen_features(images(4))[0]
    standardised = (level - method.get_buffer("layer1_mean")) / method.get_buffer("layer1_std")
    assert standardised.mean((0, 2, 3)).abs().max() < 1e-3
    assert (standardised.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_moments_do_not_depend_on_the_batches():
    features = torch.randn(6, 3, 4, 5) * 7 + 100
    whole, parts = Moments(), Moments()
    whole.add(features)
    for part in features.split(2):
        parts.add(part)
    assert torch.allclose(whole.mean, parts.mean) and torch.allclose(whole.std, parts.std)
    assert torch.allclose(whole.std, features.std((0, 2, 3), unbiased=False), rtol=1e-4)
