from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.methods.reverse_distillation import ReverseDistillation  # noqa: E402


def images(count, hw=(64, 64), seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(60, 120, (count, *hw, 3), dtype=np.uint8))


@pytest.mark.parametrize("backbone", ["efficientnet-lite0", "resnet18"])
@pytest.mark.parametrize("hw", [(64, 64), (72, 100)])
def test_the_decoder_gives_back_what_the_teacher_has(backbone, hw):
    method = ReverseDistillation(backbone, hw).eval()
    with torch.no_grad():
        teacher = method.standardised(method.frozen_features(images(2, hw)))
        sizes = [tuple(level.shape[2:]) for level in teacher]
        decoded = method.decoder(method.bottleneck(teacher), sizes)
        anomaly_map, _ = method(images(2, hw))
    assert [level.shape for level in decoded] == [level.shape for level in teacher]
    assert anomaly_map.shape == (2, *hw)


def test_the_embedding_is_narrower_than_what_goes_in():
    method = ReverseDistillation("efficientnet-lite0", (256, 256))
    with torch.no_grad():
        teacher = method.standardised(method.frozen_features(images(1, (256, 256))))
        embedded = method.bottleneck(teacher)
    assert embedded.shape == (1, 128, 16, 16)
    assert embedded.numel() < sum(level.numel() for level in teacher) / 4


def test_the_map_is_the_blurred_sum_of_the_levels_mean_squares():
    method = ReverseDistillation("resnet18", (64, 64)).eval()
    with torch.no_grad():
        frozen = method.frozen_features(images(2))
        teacher = method.standardised(frozen)
        decoded = method.decoder(method.bottleneck(teacher), [tuple(level.shape[2:]) for level in teacher])
        total = sum(
            torch.nn.functional.interpolate(
                (d - t).square().mean(1, keepdim=True), size=method.image_size_hw, mode="bilinear"
            )
            for d, t in zip(decoded, teacher, strict=True)
        )
        anomaly_map, _ = method(images(2))
    assert torch.allclose(anomaly_map, method.blur(total[:, 0]), rtol=1e-4, atol=1e-5)


def test_training_needs_the_teacher_only_once_a_picture():
    method = ReverseDistillation("resnet18", (64, 64))
    frozen = method.frozen_features(images(2))
    loss = method.training_step(torch.zeros(0), frozen)  # the picture itself is not looked at
    loss.backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
