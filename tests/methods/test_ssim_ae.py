from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.dataset.reading import read_dataset  # noqa: E402
from edgeleather.imaging.preprocess import prepare  # noqa: E402
from edgeleather.methods.ssim import Ssim  # noqa: E402
from edgeleather.methods.ssim_ae import SsimAutoencoder  # noqa: E402
from tests.tiny import MODE  # noqa: E402


def test_ssim_is_wangs_formula_in_one_window():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 11, 11))
    steps = np.arange(11) - 5
    weights = np.exp(-0.5 * (steps / 1.5) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
    covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    expected /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    images = [torch.from_numpy(x).float().expand(1, 3, 11, 11) for x in (a, b)]
    assert Ssim()(*images)[0, 5, 5] == pytest.approx(expected, abs=1e-4)


def test_ssim_is_one_for_equals_symmetric_and_of_the_images_size():
    a, b = torch.rand(2, 3, 20, 30), torch.rand(2, 3, 20, 30)
    similarity = Ssim()
    assert torch.allclose(similarity(a, a), torch.ones(2, 20, 30), atol=1e-5)
    assert torch.allclose(similarity(a, b), similarity(b, a), atol=1e-5)
    assert similarity(a, b).shape == (2, 20, 30)


@pytest.fixture
def begun(dataset_folder):
    samples = read_dataset(dataset_folder, needs="train").train_good
    images = torch.from_numpy(np.concatenate([prepare(sample.read(), MODE).images for sample in samples]))
    torch.manual_seed(0)
    method = SsimAutoencoder("none", (64, 64))
    method.begin([(batch, []) for batch in images.split(8)])
    return method, images


def test_colour_components_are_uncorrelated_and_equally_large_on_good_pictures(begun):
    method, images = begun
    components = method._components(images).permute(1, 0, 2, 3).reshape(3, -1)
    assert torch.allclose(components.mean(1), torch.full((3,), 0.5), atol=1e-3)
    covariance = torch.cov(components)
    assert (covariance - torch.diag(covariance.diag())).abs().max() < 1e-5
    # Components of less than half a grey level, of which this synthetic leather has one, stay smaller.
    assert covariance[2, 2] == pytest.approx(0.05**2, rel=0.01) and (covariance.diag() < 1.01 * 0.05**2).all()


def test_pictures_are_averaged_down_to_about_64_pixels():
    assert [SsimAutoencoder("none", (side, side)).shrink for side in (32, 64, 100, 128, 256, 512)] == [1, 1, 2, 2, 4, 8]


@pytest.mark.parametrize("size", [(100, 140), (250, 250), (130, 129)])
def test_the_last_rows_and_columns_are_looked_at(size):
    torch.manual_seed(0)
    method = SsimAutoencoder("none", size).eval()
    image = torch.randint(100, 110, (1, *size, 3), dtype=torch.uint8)
    with torch.no_grad():
        before = method(image)[0][0]
        for edge in (np.s_[0, -1], np.s_[0, :, -1]):
            painted = image.clone()
            painted[edge] = 255
            assert (method(painted)[0][0] - before)[edge[1:]].abs().max() > 0


def test_grey_leather_has_no_colour_that_could_be_enlarged():
    method = SsimAutoencoder("none", (64, 64))
    grey = torch.randint(60, 200, (4, 64, 64, 1), dtype=torch.uint8).expand(-1, -1, -1, 3).contiguous()
    method.begin([(grey, [])])
    tinted = grey.clone()
    tinted[..., 2] += 1
    assert (method._components(tinted) - method._components(grey)).abs().max() < 0.15


def test_a_picture_of_another_shape_comes_back_at_its_size():
    method = SsimAutoencoder("none", (100, 140)).eval()
    image = torch.randint(0, 256, (2, 100, 140, 3), dtype=torch.uint8)
    with torch.no_grad():
        anomaly_map, score = method(image)
    assert anomaly_map.shape == (2, 100, 140) and torch.equal(score, anomaly_map.amax((1, 2)))


@pytest.mark.slow
@pytest.mark.real_data
def test_the_edge_of_good_pictures_is_as_normal_as_the_inside(tmp_path):
    """The border artefact that the seed paper clears (section 4.1) is not there."""
    from edgeleather.training.training import load_trained, train
    from tests.conftest import REAL_DATA
    from tests.tiny import settings

    dataset = read_dataset(REAL_DATA / "mvtec_leather", needs="any")
    mode = MODE.__class__("resize", (256, 256), 1.0)
    chosen = {"method": "ssim-ae", "backbone": "none", "learning_rate": 0.001, "epochs": 8, "input_mode": mode}
    run = train(dataset, settings(**chosen), tmp_path / "run")
    method = load_trained(run, tmp_path / "run")
    images = np.concatenate([prepare(sample.read(), mode).images for sample in dataset.test if sample.is_good])
    with torch.inference_mode():
        mean = method(torch.from_numpy(images))[0].mean(0)
    edge = torch.cat([mean[:8].flatten(), mean[-8:].flatten(), mean[:, :8].flatten(), mean[:, -8:].flatten()])
    assert edge.mean() / mean[24:-24, 24:-24].mean() == pytest.approx(1.0, abs=0.03)
    # And a defect is seen there, as inside.
    image = images[:1].copy()
    peaks = []
    for row in (0, 124):
        spoiled = image.copy()
        spoiled[0, row : row + 8, 100:124] = (20, 20, 90)
        with torch.inference_mode():
            raised = (method(torch.from_numpy(spoiled))[0] - method(torch.from_numpy(image))[0])[0]
        peaks.append(float(raised[max(row - 8, 0) : row + 16, 90:134].max()))
    assert peaks[0] > 0.5 * peaks[1] > 0
