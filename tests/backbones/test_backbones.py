from __future__ import annotations

from pathlib import Path

import cv2
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.backbones.backbone import Backbone, normalise  # noqa: E402
from edgeleather.backbones.efficientnet_lite0 import EfficientNetLite0, imagenet_weights  # noqa: E402
from edgeleather.backbones.loading import BACKBONES, build_backbone, load_weights  # noqa: E402
from edgeleather.backbones.resnet18 import ResNet18  # noqa: E402
from edgeleather.errors import EdgeLeatherError  # noqa: E402

ALL_LAYERS = {"efficientnet-lite0": tuple(EfficientNetLite0.channels), "resnet18": tuple(ResNet18.channels)}


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [64, 100])
def test_features_have_the_channels_and_strides_of_the_table(name, size):
    backbone = build_backbone(name, ALL_LAYERS[name])
    for layer, features in zip(
        ALL_LAYERS[name], backbone(torch.zeros(2, size, size, 3, dtype=torch.uint8)), strict=True
    ):
        grid = -(-size // backbone.strides[layer])
        assert features.shape == (2, backbone.channels[layer], grid, grid), layer


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_behind_the_deepest_layer_is_built(name):
    shallow, deep = build_backbone(name, ALL_LAYERS[name][:1]), build_backbone(name, ALL_LAYERS[name])
    count = [sum(p.numel() for p in b.parameters()) for b in (shallow, deep)]
    assert count[0] < count[1] / 10


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_stays_frozen_in_training_mode(name):
    backbone = build_backbone(name, ALL_LAYERS[name][:2])
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.train()
    backbone(torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8))
    assert not backbone.training and not any(p.requires_grad for p in backbone.parameters())
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_a_trained_backbone_learns_and_its_statistics_follow(name):
    student = build_backbone(name, ALL_LAYERS[name][:2], trained=True)
    assert student.training and all(p.requires_grad for p in student.parameters())
    for _ in range(60):
        student(torch.randint(100, 140, (4, 64, 64, 3), dtype=torch.uint8))
    image = torch.randint(100, 140, (4, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        learning, deployed = student(image)[0], student.eval()(image)[0]
    assert not student.training
    assert torch.nn.functional.mse_loss(deployed, learning) < 0.05 * learning.var()


@pytest.mark.parametrize("name", BACKBONES)
def test_normalisation_folded_into_the_stem_gives_the_same_features_at_the_edge_too(name):
    torch.manual_seed(0)
    backbone = build_backbone(name, ALL_LAYERS[name][:3])
    load_weights(backbone, name, "imagenet" if name == "efficientnet-lite0" else "random")
    image = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    before = backbone(image)
    backbone.fold_normalisation()
    for plain, folded in zip(before, backbone(image), strict=True):
        assert (plain - folded).abs().max() < 1e-4 * plain.abs().max()


def test_the_packaged_weights_fill_every_layer_and_see_what_imagenet_taught():
    """The package's own classifier head on top of our features names a palace and a daisy (scikit-learn's pictures)."""
    sklearn = pytest.importorskip("sklearn", reason="its two sample pictures")
    folder = Path(sklearn.__file__).parent / "datasets" / "images"
    state = imagenet_weights()
    backbone = build_backbone("efficientnet-lite0", ("stage7",))
    load_weights(backbone, "efficientnet-lite0", "imagenet")
    found = []
    for name in ("china.jpg", "flower.jpg"):
        picture = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
        side = min(picture.shape[:2])
        top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
        square = cv2.resize(picture[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_AREA)
        pixels = (torch.from_numpy(square).permute(2, 0, 1)[None].float() - 127) / 128
        features = torch.nn.functional.conv2d(backbone.pyramid(pixels)[0], state["_conv_head.weight"])
        norm = (state["_bn1.running_mean"], state["_bn1.running_var"], state["_bn1.weight"], state["_bn1.bias"])
        pooled = torch.nn.functional.batch_norm(features, *norm, eps=1e-3).clamp(0, 6).mean((2, 3))
        found.append(int((pooled @ state["_fc.weight"].T + state["_fc.bias"]).argmax()))
    assert found == [698, 985]


def test_resnet18_has_torchvisions_keys():
    keys = set(build_backbone("resnet18", ("layer4",)).state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight"} <= keys
    assert {"layer4.1.bn2.bias", "layer3.0.downsample.1.running_mean"} <= keys
    assert len(keys) == 120  # torchvision's 122 without fc.weight and fc.bias


def test_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    source = build_backbone("resnet18", ("layer4",))
    torch.save(source.state_dict() | {"fc.weight": torch.zeros(3)}, tmp_path / "weights.pth")
    target = build_backbone("resnet18", ("layer2",))
    load_weights(target, "resnet18", str(tmp_path / "weights.pth"))
    assert torch.equal(target.state_dict()["layer2.0.conv1.weight"], source.state_dict()["layer2.0.conv1.weight"])


def test_wrong_weights_are_one_clear_error(tmp_path):
    backbone = build_backbone("resnet18", ("layer1",))
    (tmp_path / "noise.pth").write_bytes(b"no weights")
    torch.save(build_backbone("efficientnet-lite0", ("stage1",)).state_dict(), tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    state = backbone.state_dict()
    torch.save(state | {"conv1.weight": torch.zeros(1)}, tmp_path / "shape.pth")
    for name, message in [
        ("noise.pth", "does not load"),
        ("other.pth", "is not in it"),
        ("list.pth", "got list"),
        ("shape.pth", "other shapes"),
        ("absent.pth", "is no file"),
    ]:
        with pytest.raises(EdgeLeatherError, match=message):
            load_weights(backbone, "resnet18", str(tmp_path / name))
    with pytest.raises(EdgeLeatherError, match="expected a backbone of efficientnet-lite0, resnet18"):
        build_backbone("vgg", ("x",))


def test_a_pickle_that_runs_code_is_not_run(tmp_path):
    import os
    import pickle

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"conv1.weight": Trap()}, protocol=2))
    with pytest.raises(EdgeLeatherError, match="does not load"):
        load_weights(build_backbone("resnet18", ("layer1",)), "resnet18", str(tmp_path / "trap.pth"))
    assert not (tmp_path / "ran").exists()


def test_normalise_gives_imagenets_statistics():
    pixels = torch.tensor([[[[124, 116, 104]]]], dtype=torch.uint8)
    assert normalise(pixels).shape == (1, 3, 1, 1) and normalise(pixels).abs().max() < 0.01
    assert isinstance(build_backbone("resnet18", ("layer1",)), Backbone)
