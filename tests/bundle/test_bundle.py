from __future__ import annotations

import json
import os
import resource
import sys

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeleather.bundle.bundle import check_bundle_target, everything, read_bundle, write_bundle
from edgeleather.bundle.golden import read_golden
from edgeleather.bundle.manifest import manifest_digest
from edgeleather.engines.built import machine_folder
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file
from tests.imaging.pictures import png_header


def edit_manifest(folder, change):
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    data["digest"] = manifest_digest(data)
    path.write_text(json.dumps(data))


def test_a_bundle_holds_what_its_manifest_says(bundle):
    manifest = bundle.manifest
    assert {"fp32.onnx", "golden/fp32.onnx.json", "original/run.json", "original/weights.safetensors"} < set(
        manifest.files
    )
    on_disk = {p.relative_to(bundle.folder).as_posix() for p in bundle.folder.rglob("*") if p.is_file()}
    assert on_disk == set(manifest.files) | {"manifest.json"}
    assert manifest.method == "memory-bank" and manifest.input_mode.image_size_hw == (64, 64)
    thresholds = bundle.thresholds_of("fp32.onnx")
    assert len(thresholds.good_scores) == 24 and thresholds.good_groups == 6
    assert thresholds.t2_pixel and thresholds.t3_image
    assert not set(manifest.images.training) & set(manifest.images.t2_t3)


def test_no_path_of_the_training_machine_travels(bundle):
    for path in bundle.folder.rglob("*"):
        if path.suffix in (".json", ".onnx"):
            assert b"/tmp/" not in path.read_bytes() and b"site-packages" not in path.read_bytes(), path


@pytest.mark.parametrize("name", ["fp32.onnx", "golden/fp32.onnx.json", "golden/0-good.png"])
def test_one_flipped_byte_is_refused(bundle_copy, name):
    content = bytearray((bundle_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / name).write_bytes(content)
    with pytest.raises(EdgeLeatherError, match=f"{name} is damaged"):
        read_bundle(bundle_copy)


def test_any_flipped_bit_of_the_manifest_is_refused(bundle_copy):
    path = bundle_copy / "manifest.json"
    original = path.read_bytes()
    parsed = json.loads(original)
    for position in range(0, len(original), 37):
        content = bytearray(original)
        content[position] ^= 4
        path.write_bytes(content)
        try:
            if json.loads(content) == parsed:
                continue  # white space between the values
        except ValueError:
            pass
        with pytest.raises(EdgeLeatherError):
            read_bundle(bundle_copy)


def test_a_folder_with_a_manifest_of_another_program_is_never_replaced(tmp_path, bundle_copy):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(EdgeLeatherError, match="no bundle"):
        check_bundle_target(tmp_path / "app", overwrite=True)
    (bundle_copy / "notes.txt").write_text("mine")
    with pytest.raises(EdgeLeatherError, match=r"no bundle \(notes.txt\)"):
        check_bundle_target(bundle_copy, overwrite=True)


def test_the_runtime_does_not_read_the_original_but_benchmark_does(bundle_copy):
    (bundle_copy / "original" / "weights.safetensors").write_bytes(b"damaged")
    read_bundle(bundle_copy)
    with pytest.raises(EdgeLeatherError, match=r"original/weights\.safetensors is damaged"):
        read_bundle(bundle_copy, everything)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=1, old_key=0), "schema: expected one of 6, got 1"),
        (lambda m: m.update(surprise=1), "unknown key 'surprise'"),
        (lambda m: m.pop("method"), "key 'method' is missing"),
        (lambda m: m["files"].update({"../outside": m["files"]["fp32.onnx"]}), "no plain name"),
        (lambda m: m["files"].update({"/etc/passwd": m["files"]["fp32.onnx"]}), "no plain name"),
        (lambda m: m["files"].update({"a/../b": m["files"]["fp32.onnx"]}), "no plain name"),
        (lambda m: m["files"].update({"c:\\x": m["files"]["fp32.onnx"]}), "no plain name"),
        (lambda m: m["files"].update({"absent.onnx": m["files"]["fp32.onnx"]}), "no such file"),
        (lambda m: m["thresholds"][0].update(graph="other.onnx"), "thresholds for other.onnx"),
        (
            lambda m: m["thresholds"][0]["verdict"].update(value="high"),
            r"thresholds\[0\]\.verdict\.value: expected float",
        ),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused_with_what_to_do(bundle_copy, change, message):
    edit_manifest(bundle_copy, change)
    with pytest.raises(EdgeLeatherError, match=message) as error:
        read_bundle(bundle_copy)
    assert "edgeleather export" in str(error.value)


def test_a_link_is_refused(bundle_copy, tmp_path):
    graph = bundle_copy / "fp32.onnx"
    graph.rename(tmp_path / "elsewhere.onnx")
    graph.symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(EdgeLeatherError, match="is a link"):
        read_bundle(bundle_copy)


def test_a_manifest_that_is_no_json_and_a_folder_that_is_no_bundle(bundle_copy, tmp_path):
    (bundle_copy / "manifest.json").write_text("{")
    with pytest.raises(EdgeLeatherError, match="expected a JSON file"):
        read_bundle(bundle_copy)
    (bundle_copy / "manifest.json").unlink()
    with pytest.raises(EdgeLeatherError, match="found none"):
        read_bundle(bundle_copy)
    with pytest.raises(EdgeLeatherError, match="expected a bundle folder"):
        read_bundle(tmp_path / "absent")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=20))
def test_any_file_name_is_inside_the_bundle_or_refused(bundle_copy, name):
    original = (bundle_copy / "manifest.json").read_bytes()
    try:
        edit_manifest(bundle_copy, lambda m: m["files"].update({name: m["files"]["fp32.onnx"]}))
        with pytest.raises(EdgeLeatherError):
            read_bundle(bundle_copy)
    finally:
        (bundle_copy / "manifest.json").write_bytes(original)


def test_writing_leaves_nothing_behind_when_it_fails(bundle, tmp_path):
    with pytest.raises(EdgeLeatherError, match="no plain name"):
        write_bundle(tmp_path / "new", bundle.manifest, {"good": b"x", "../bad": b"y"})
    assert list(tmp_path.iterdir()) == []


def test_only_a_bundle_is_replaced_and_only_when_asked(bundle_copy, bundle, tmp_path):
    with pytest.raises(EdgeLeatherError, match="--force"):
        check_bundle_target(bundle_copy, overwrite=False)
    contents = {name: (bundle.folder / name).read_bytes() for name in bundle.manifest.files}
    write_bundle(bundle_copy, bundle.manifest, contents, overwrite=True)
    assert read_bundle(bundle_copy, everything).manifest == bundle.manifest
    assert [path.name for path in tmp_path.iterdir()] == [bundle_copy.name]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    with pytest.raises(EdgeLeatherError, match="no bundle"):
        check_bundle_target(tmp_path / "photos", overwrite=True)


def put_file(folder, name, content):
    """Replace a file of a bundle and have the manifest agree, as somebody would who means harm."""
    path = folder / name
    path.write_bytes(content)
    record = {"sha256": sha256_of_file(path), "size_bytes": path.stat().st_size}
    edit_manifest(folder, lambda m: m["files"].update({name: record}))


@pytest.mark.skipif(os.name != "posix", reason="pipes are as on POSIX")
@pytest.mark.parametrize("name", ["manifest.json", "fp32.onnx", "golden/fp32.onnx.json", "golden/0-good.png"])
def test_a_pipe_in_a_bundle_never_blocks(bundle_copy, name):
    (bundle_copy / name).unlink()
    os.mkfifo(bundle_copy / name)
    with pytest.raises(EdgeLeatherError, match=r"not a plain file|is damaged"):
        read_bundle(bundle_copy)
    if name == "manifest.json":
        with pytest.raises(EdgeLeatherError, match="no bundle"):
            check_bundle_target(bundle_copy, overwrite=True)


@pytest.mark.skipif(sys.platform != "linux", reason="sparse files and ru_maxrss are as on Linux")
def test_huge_files_are_refused_by_their_size(bundle_copy):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("golden/0-good.png", "fp32.onnx"):
        os.truncate(bundle_copy / name, 100 << 30)
        edit_manifest(bundle_copy, lambda m, name=name: m["files"][name].update(size_bytes=100 << 30))
        with pytest.raises(EdgeLeatherError, match=f"{name} (is damaged|cannot be read: it is larger than allowed)"):
            read_bundle(bundle_copy)
    os.truncate(bundle_copy / "manifest.json", 3 << 30)
    with pytest.raises(EdgeLeatherError, match=r"manifest\.json: expected a readable JSON file, got: it is larger"):
        read_bundle(bundle_copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64_000  # kilobytes


def test_a_golden_frame_that_is_larger_than_the_models_images_is_never_decoded(bundle_copy):
    put_file(bundle_copy, "golden/0-good.png", png_header(32_000, 32_000))
    with pytest.raises(EdgeLeatherError, match=r"0-good\.png: expected a picture of at most 0\.004096 megapixels"):
        read_golden(read_bundle(bundle_copy))
    larger = cv2.imencode(".png", np.zeros((65, 64, 3), np.uint8))[1].tobytes()
    put_file(bundle_copy, "golden/0-good.png", larger)
    with pytest.raises(EdgeLeatherError, match=r"expected a picture of at most 0\.004096 megapixels, got 64 x 65"):
        read_golden(read_bundle(bundle_copy))


def test_a_graph_that_reads_the_working_folder_is_refused(bundle_copy, tmp_path, monkeypatch):
    """ONNX Runtime itself takes such a file from wherever the shell stands."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(bundle_copy / "fp32.onnx")
    tensor = next(one for one in model.graph.initializer if len(one.raw_data) > 1000)
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    for key, value in {"location": "weights.bin", "offset": "0", "length": str(len(tensor.raw_data))}.items():
        tensor.external_data.add(key=key, value=value)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    put_file(bundle_copy, "fp32.onnx", model.SerializeToString())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        EdgeLeatherError, match=r"in fp32\.onnx a graph that EdgeLeather exported, got one with weights in another"
    ):
        read_bundle(bundle_copy)


def test_engines_outside_of_the_bundle_are_refused(bundle_copy, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (bundle_copy / "engines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EdgeLeatherError, match="engines: expected a folder in the bundle, got a link"):
        machine_folder(bundle_copy)
    (bundle_copy / "engines").unlink()
    machine = machine_folder(bundle_copy)
    machine.parent.mkdir()
    machine.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EdgeLeatherError, match="expected a folder in the bundle, got a link"):
        machine_folder(bundle_copy)


def test_a_bundle_of_a_newer_version_says_so(bundle_copy):
    edit_manifest(bundle_copy, lambda m: m.update(schema=99, looks={}))
    with pytest.raises(EdgeLeatherError, match="schema 99: a newer edgeleather wrote it"):
        read_bundle(bundle_copy)
