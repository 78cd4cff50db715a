from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.imaging.appearance import ANSWER  # noqa: E402
from edgeleather.methods.gaussian import Gaussian, PatchSums, patch_sums, shrinkage, whitening_of  # noqa: E402
from edgeleather.methods.method import answers_of  # noqa: E402
from edgeleather.methods.moments import at_least_some  # noqa: E402


def images(count, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(60, 120, (count, 64, 64, 3), dtype=np.uint8))


def fitted(*batches):
    torch.manual_seed(0)
    return refitted(Gaussian("resnet18", (64, 64)).eval(), *batches)


def refitted(method, *batches):
    with torch.inference_mode():
        for batch in batches:
            method.training_step(batch, [])
        method.end_epoch(0)
    return method


def correlated(patches, channels, seed=0):
    """Patches [patches, channels] with a mean, deviations from 0.01 to 100 and correlations."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    scales = torch.logspace(-2, 2, channels, dtype=torch.float64)
    return (torch.randn(patches, channels, generator=generator, dtype=torch.float64) @ mixing + 5.0) * scales


def sums_of(patches, pictures):
    return PatchSums(pictures, len(patches), patches.sum(0), patches.T @ patches)


def test_distances_are_mahalanobis_distances_from_the_shrunk_covariance():
    normal = images(6)
    method = fitted(normal)
    batch = images(2, seed=9)
    with torch.inference_mode():
        distances = method.patch_distances(batch)
        known, asked = (
            method.raw_features(pictures).double().permute(0, 2, 3, 1).reshape(-1, method.channels)
            for pictures in (normal, batch)
        )
    covariance = torch.cov(known.T, correction=0)
    std = at_least_some(covariance.diagonal().sqrt())
    covariance.diagonal().copy_(std.square())
    share = shrinkage(covariance / torch.outer(std, std), 6)
    shrunk = (1 - share) * covariance + share * torch.diag(std.square())
    centred = asked - known.mean(0)
    expected = ((centred @ torch.linalg.inv(shrunk)) * centred).sum(1).div(method.channels).sqrt()
    assert 0.01 < share < 1.0
    assert torch.allclose(distances.double().flatten(), expected, rtol=1e-3)


def test_whitened_patches_are_uncorrelated_where_there_are_many_pictures():
    patches = correlated(5000, 8)
    mean, whitening = whitening_of(sums_of(patches, pictures=10**9))
    white = (patches - mean) @ whitening.T
    assert torch.allclose(torch.cov(white.T, correction=0), torch.eye(8, dtype=torch.float64), atol=1e-4)


def test_one_picture_and_channels_that_say_nothing_still_give_finite_distances():
    patches = correlated(20, 8)
    patches[:, 3] = 7.0
    mean, whitening = whitening_of(sums_of(patches, pictures=1))
    moved = patches.clone()
    moved[:, 3] = 7.01
    distances = [((some - mean) @ whitening.T).square().mean(1).sqrt() for some in (patches, moved)]
    assert torch.isfinite(distances[0]).all() and distances[0].max() < 5
    assert (distances[1] - distances[0]).max() < 1  # the dead channel does not outweigh the others
    flat = fitted(torch.full((2, 64, 64, 3), 100, dtype=torch.uint8))
    with torch.inference_mode():
        assert torch.isfinite(flat(images(1))[0]).all()


def test_shrinkage_is_that_of_the_paper_and_falls_with_the_samples():
    correlation = torch.full((4, 4), 0.5, dtype=torch.float64).fill_diagonal_(1.0)
    # tr(S^2) = 4 + 12 / 4 = 7, tr(S) = 4: (0.5 * 7 + 16) / ((10 + 0.5) * (7 - 4)) for 10 samples
    assert shrinkage(correlation, 10) == pytest.approx(19.5 / 31.5)
    assert shrinkage(correlation, 1) == 1.0 > shrinkage(correlation, 100) > shrinkage(correlation, 1000) > 0.0
    assert shrinkage(torch.eye(4, dtype=torch.float64), 100) == 1.0


def test_taking_pictures_away_gives_what_was_never_added():
    generator = torch.Generator().manual_seed(0)
    first, second = (100 * torch.rand(3, 5, 4, 6, generator=generator) for _ in range(2))
    left = patch_sums(torch.cat([first, second])) - patch_sums(second)
    alone = patch_sums(first)
    assert (left.pictures, left.patches) == (alone.pictures, alone.patches) == (3, 72)
    assert torch.allclose(left.features, alone.features, rtol=1e-12)
    assert torch.allclose(left.products, alone.products, rtol=1e-12)


def test_leaving_a_group_out_answers_as_a_training_without_it():
    groups = {"a": [images(3)], "b": [images(2, seed=3) // 2 + 90]}
    method = fitted(images(2, seed=2))
    before = [tensor.clone() for tensor in method.whitening.state_dict().values()]
    with torch.inference_mode():
        answers = method.answers_left_out(
            {name: lambda batches=batches: batches for name, batches in groups.items()}, 0
        )
    assert {name: len(found) for name, found in answers.items()} == {"a": 3, "b": 2}
    assert all(map(torch.equal, before, method.whitening.state_dict().values()))
    for name, batches in groups.items():
        without = refitted(method, *(batch for other, found in groups.items() if other != name for batch in found))
        with torch.inference_mode():
            expected = [answer for batch in batches for answer in answers_of(*without(batch))]
        for answer, wanted in zip(answers[name], expected, strict=True):
            assert answer.score == pytest.approx(wanted.score, rel=1e-5)
            assert answer.statistics[0] == pytest.approx(math.log(answer.score))
            assert len(answer.statistics) == len(ANSWER)


def test_one_group_alone_cannot_be_left_out():
    method = fitted(images(6))
    with torch.inference_mode():
        assert method.answers_left_out({"only": lambda: [images(2)]}, seed=0) == {}


def test_a_bright_spot_on_a_normal_raises_the_map_where_it_is():
    method = fitted(images(6))
    normal = images(1, seed=3)
    spotted = normal.clone()
    spotted[:, 40:56, 8:24] = 255
    with torch.inference_mode():
        (before, score), (after, higher) = method(normal), method(spotted)
    assert higher > score
    y, x = divmod(int((after - before)[0].argmax()), 64)
    assert 36 <= y <= 60 and 4 <= x <= 28


def test_an_untrained_one_answers_no_number():
    torch.manual_seed(0)
    with torch.inference_mode():
        assert torch.isnan(Gaussian("resnet18", (64, 64)).eval()(images(1))[1]).all()


def test_the_sums_are_no_part_of_what_is_saved():
    names = {name for name in fitted(images(2)).state_dict() if not name.startswith("backbone.")}
    assert names == {"whitening.weight", "whitening.bias"}
