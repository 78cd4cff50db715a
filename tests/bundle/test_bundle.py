from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeleather.bundle.bundle import check_bundle_target, everything, read_bundle, write_bundle
from edgeleather.bundle.manifest import manifest_digest
from edgeleather.errors import EdgeLeatherError


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
        (lambda m: m.update(schema=1, old_key=0), "schema: expected one of 3, got 1"),
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
