from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.errors import EdgeLeatherError  # noqa: E402
from edgeleather.imaging.appearance import ANSWER  # noqa: E402
from edgeleather.methods.memory_bank import MemoryBank, _thinned, coreset  # noqa: E402
from edgeleather.methods.method import build_method  # noqa: E402


def fitted(seed=0, patches=64):
    torch.manual_seed(0)
    bank = MemoryBank("resnet18", (64, 64), bank_patches=patches).eval()
    with torch.inference_mode():
        bank.training_step(images(6), [])
        bank.end_epoch(seed)
    return bank


def images(count, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(60, 120, (count, 64, 64, 3), dtype=np.uint8))


def test_distances_are_those_of_a_plain_nearest_neighbour():
    bank = fitted()
    batch = images(2, seed=9)
    with torch.inference_mode():
        raw = bank.raw_features(batch).permute(0, 2, 3, 1)
        patches = (raw - bank.channel_mean) / bank.channel_std
        distances = torch.cdist(patches.reshape(-1, patches.shape[-1]).double(), bank.bank.double())
        expected = distances.amin(1).view(2, 8, 8) / bank.bank.shape[1] ** 0.5
        assert torch.allclose(bank.patch_distances(batch).double(), expected, atol=2e-3)


def test_a_patch_of_the_bank_is_at_distance_zero_and_never_nan():
    bank = fitted(patches=10_000)
    with torch.inference_mode():
        distances = bank.patch_distances(images(6))
    assert torch.isfinite(distances).all() and distances.max() < 0.011  # the smallest distance there is, 0.01


def test_the_coreset_covers_better_than_a_random_choice():
    generator = torch.Generator().manual_seed(0)
    clusters = torch.randn(40, 8, generator=generator) * 10
    crowded = clusters[torch.randint(0, 3, (4000,), generator=generator)]
    patches = torch.cat([crowded, clusters]) + 0.01 * torch.randn(4040, 8, generator=generator)
    chosen = coreset(patches, 60, seed=0)
    at_random = patches[torch.randperm(len(patches), generator=generator)[:60]]
    radius = [torch.cdist(patches, bank).amin(1).max() for bank in (chosen, at_random)]
    assert radius[0] < 1 < radius[1]
    assert torch.equal(chosen, coreset(patches, 60, seed=0))


def test_a_bright_spot_on_a_normal_raises_the_map_where_it_is():
    bank = fitted()
    normal = images(1, seed=3)
    spotted = normal.clone()
    spotted[:, 40:56, 8:24] = 255
    with torch.inference_mode():
        (before, score), (after, higher) = bank(normal), bank(spotted)
    assert higher > score
    y, x = divmod(int((after - before)[0].argmax()), 64)
    assert 36 <= y <= 60 and 4 <= x <= 28


def test_leaving_a_group_out_scores_it_without_its_patches():
    bank = fitted()
    deployed = bank.bank
    odd = torch.full((1, 64, 64, 3), 250, dtype=torch.uint8)
    sources = {"a": lambda: [images(3)], "b": lambda: [images(3, seed=2)], "odd": lambda: [odd]}
    with torch.inference_mode():
        bank.training_step(odd, [])
        bank.end_epoch(0)
        inside = float(bank(odd)[1])
        bank.bank = deployed
        answers = bank.answers_left_out(sources, seed=0)
    scores = {name: [answer.score for answer in found] for name, found in answers.items()}
    assert {name: len(values) for name, values in scores.items()} == {"a": 3, "b": 3, "odd": 1}
    assert scores["odd"][0] > 2 * inside and scores["odd"][0] > max(scores["a"])
    assert bank.bank is deployed
    for answer in (answer for found in answers.values() for answer in found):
        assert answer.statistics[0] == pytest.approx(math.log(answer.score)) and len(answer.statistics) == len(ANSWER)


def test_one_group_alone_cannot_be_left_out():
    bank = fitted()
    with torch.inference_mode():
        assert bank.answers_left_out({"only": lambda: [images(2)]}, seed=0) == {}


def test_memory_of_collected_patches_hardly_grows():
    many = _thinned([torch.zeros(1000, 2) for _ in range(400)], slack=1.0)
    assert sum(len(patches) for patches in many) <= 30_400


def test_an_empty_bank_and_an_unknown_name_are_clear_errors():
    with pytest.raises(EdgeLeatherError, match="train it first"):
        MemoryBank("resnet18", (64, 64)).anomaly_map(images(1))
    with pytest.raises(EdgeLeatherError, match=r"expected a method of .*memory-bank, .*got 'magic'"):
        build_method("magic", "resnet18", (64, 64))
    with pytest.raises(EdgeLeatherError, match="expected a backbone"):
        build_method("memory-bank", "vgg", (64, 64))
