from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.methods.cflow import Cflow, ConditionalFlow, position_codes  # noqa: E402


def images(count, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(60, 120, (count, 64, 64, 3), dtype=np.uint8))


def begun():
    torch.manual_seed(0)
    method = Cflow("resnet18", (64, 64))
    batch = images(8)
    with torch.no_grad():
        method.begin([(batch, method.frozen_features(batch))])
        for flow in method.flows:
            for layer in flow.to_affine:
                torch.nn.init.normal_(layer.weight, 0.0, 0.05)
        method.finish([(batch, method.frozen_features(batch))])
    return method.eval()


def test_the_likelihood_is_that_of_the_flows_jacobian():
    """Against automatic differentiation of the whole flow, at one position of a few channels."""
    torch.manual_seed(0)
    flow = ConditionalFlow(6)
    for layer in flow.to_affine:
        torch.nn.init.normal_(layer.weight, 0.0, 0.3)
    condition = position_codes(4, 5)[:, :, 2:3, 3:4]
    point = torch.randn(6)

    def through(values):
        return flow.transformed(values.view(1, 6, 1, 1), condition)[0].flatten()

    jacobian = torch.autograd.functional.jacobian(through, point)
    latent = through(point)
    density = torch.distributions.Normal(0.0, 1.0).log_prob(latent).sum() + torch.linalg.slogdet(jacobian)[1]
    assert flow(point.view(1, 6, 1, 1), condition).item() == pytest.approx(-density.item() / 6, abs=1e-4)


def test_training_raises_the_likelihood_of_a_correlated_cloud():
    torch.manual_seed(0)
    flow, mixing = ConditionalFlow(4), torch.randn(4, 4)
    optimizer = torch.optim.Adam(flow.parameters(), lr=2e-3)
    losses = []
    for _ in range(60):
        cloud = (torch.randn(1, 256, 4) @ mixing).transpose(1, 2).unsqueeze(3)
        loss = flow(cloud, torch.zeros(1, 128, 1, 1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


def test_positions_have_codes_of_their_own():
    codes = position_codes(16, 16)[0].flatten(1).T
    distances = torch.cdist(codes, codes) + 10 * torch.eye(256)
    assert codes.shape == (256, 128) and distances.min() > 0.1


def test_a_score_is_the_same_alone_among_extremes_and_in_another_process(tmp_path):
    method, image = begun(), images(1, seed=7)
    extremes = torch.stack([torch.zeros(64, 64, 3, dtype=torch.uint8), torch.full((64, 64, 3), 255, dtype=torch.uint8)])
    with torch.inference_mode():
        alone = float(method(image)[1][0])
        among = float(method(torch.cat([image, extremes, images(3, seed=8)]))[1][0])
    torch.save({"state": method.state_dict(), "image": image}, tmp_path / "saved.pt")
    code = (
        "import torch, json, sys; from edgeleather.methods.cflow import Cflow; m = Cflow('resnet18', (64, 64)).eval();"
        "s = torch.load(sys.argv[1], weights_only=True); m.load_state(s['state']);"
        "print(json.dumps(float(m(s['image'])[1][0])))"
    )
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path / "saved.pt")], capture_output=True, text=True)
    assert among == pytest.approx(alone, rel=1e-5) and json.loads(other.stdout) == pytest.approx(alone, rel=1e-5)


def test_a_frame_that_is_bad_all_over_scores_high():
    method = begun()
    with torch.inference_mode():
        normal = method(images(4, seed=9))[1].max()
        stripes = np.tile(np.repeat(np.array([0, 255], np.uint8), 4), 8)
        bad = torch.from_numpy(np.broadcast_to(stripes[None, None, :, None], (1, 64, 64, 3)).copy())
        white = torch.full((1, 64, 64, 3), 255, dtype=torch.uint8)
        assert method(bad)[1] > 1.5 * normal and method(white)[1] > 1.5 * normal
