from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from torch.nn import functional  # noqa: E402

from edgeleather.methods.smoothing import GaussianBlur, enlarged, pooled  # noqa: E402


def test_the_blur_keeps_a_constant_and_the_sum():
    blur = GaussianBlur(2.0)
    assert torch.allclose(blur(torch.full((1, 20, 30), 3.0)), torch.tensor(3.0))
    point = torch.zeros(1, 33, 33)
    point[..., 16, 16] = 1
    assert blur(point).sum() == pytest.approx(1.0, abs=1e-4)
    assert blur(torch.ones(1, 4, 4)).shape == (1, 4, 4)  # smaller than the kernel


def test_the_blur_is_the_convolution_with_reflected_edges():
    maps = torch.rand(3, 40, 56)
    steps = torch.arange(-8, 9)
    kernel = torch.exp(-0.5 * (steps / 2.0) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(maps.unsqueeze(1), (8, 8, 8, 8), mode="reflect")
    expected = functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    assert torch.allclose(GaussianBlur(2.0)(maps), expected.squeeze(1), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "to"), [((8, 10), (64, 80)), ((7, 5), (50, 33)), ((16, 16), (16, 16)), ((1, 3), (9, 9))]
)
def test_enlarging_is_torchs_bilinear_interpolation(size, to):
    maps = torch.rand(2, *size)
    expected = functional.interpolate(maps.unsqueeze(1), size=to, mode="bilinear").squeeze(1)
    assert torch.allclose(enlarged(maps, to), expected, atol=1e-6)
    blur = GaussianBlur(1.5)
    assert torch.allclose(blur.enlarged(maps, to), blur(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "to"), [((8, 10), (16, 20)), ((7, 5), (13, 9)), ((16, 16), (16, 16)), ((1, 2), (2, 4))]
)
def test_pooling_is_torchs_average_with_zeros_around_it(size, to):
    features = torch.rand(2, 3, *size)
    expected = functional.interpolate(functional.avg_pool2d(features, 3, 1, 1), size=to, mode="bilinear")
    assert torch.allclose(pooled(features, to), expected, atol=1e-6)
