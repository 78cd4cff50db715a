"""The commands as a user runs them: exit codes, standard output, standard error."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from edgeleather.cli.main import COMMANDS, main
from edgeleather.dataset.film import write_film
from edgeleather.dataset.synthesis import SynthSettings


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def spawn(*arguments, **options):
    command = [sys.executable, "-c", "from edgeleather.cli.main import main; main()", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0 and result.output.startswith("Usage:")
    assert "Example:" in (result.output if command != "dataset" else run(command, "check", "--help").output)


def test_an_unknown_command_or_option_is_wrong_usage():
    assert run("levitate").exit_code == 2
    assert run("inspect", "--levitate").exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        ["--crop", "--stretch"], ["--crop", "--input", "tiles"], ["--threads", "0"], ["--false-alarm-rate", "nan"],
        ["--false-alarm-rate", "0"], ["--white-level", "0"],
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_wrong_usage(bundle, good_picture, options):
    result = run("inspect", bundle.folder, "--source", good_picture, *options)
    assert result.exit_code == 2, result.output


def test_crop_and_stretch_take_frames_of_another_aspect_ratio(bundle, dataset_folder, tmp_path):
    import cv2
    import numpy as np

    picture = cv2.imread(str(dataset_folder / "test/good/000.png"))
    cv2.imwrite(str(tmp_path / "wide.png"), np.hstack([picture, picture]))
    assert run("inspect", bundle.folder, "--source", tmp_path / "wide.png").exit_code == 1
    for option in ("--crop", "--stretch"):
        assert run("inspect", bundle.folder, "--source", tmp_path / "wide.png", option).exit_code == 0


def test_an_extrapolated_rate_is_marked(bundle, good_picture):
    result = run("inspect", bundle.folder, "--source", good_picture, "--false-alarm-rate", "0.001")
    assert "extrapolated" in result.output
    as_json = json.loads(run("inspect", bundle.folder, "--source", good_picture, "--json").stdout)
    assert as_json["verdicts"][0]["rule"] == "conformal"


def test_inspect_one_picture_says_defect_and_sums_up(bundle, hole_picture):
    result = run("inspect", bundle.folder, "--source", hole_picture)
    assert result.exit_code == 0, result.output
    assert (
        "defect" in result.output and "1 captured = 1 inferred + 0 dropped + 0 failed; 1 with defects" in result.output
    )


def test_inspect_json_is_one_object_on_standard_output(bundle, dataset_folder, tmp_path):
    result = run(
        "inspect", bundle.folder, "--source", dataset_folder / "test/*/*.png", "--json", "--jsonl", tmp_path / "o"
    )
    summary = json.loads(result.stdout)
    assert summary["captured"] == summary["inferred"] + summary["dropped"] + summary["failed"] == 29
    assert summary["defects"] >= 5 and summary["fps"] > 0
    assert len((tmp_path / "o").read_text().splitlines()) == 29
    assert "defect" in result.stderr


@pytest.mark.train
def test_inspect_a_film_saves_a_picture_of_every_defect(bundle_256, tmp_path):
    shown = write_film(tmp_path / "film.mkv", 30, SynthSettings())
    out = tmp_path / "defects"
    result = run("inspect", bundle_256.folder, "--source", tmp_path / "film.mkv", "--json", "--save-defects", out)
    summary = json.loads(result.stdout)
    assert summary["captured"] == len(shown) == 30 and len(list(out.iterdir())) == summary["defects"] > 0


def test_fail_on_defect_exits_with_3(bundle, hole_picture):
    assert run("inspect", bundle.folder, "--source", hole_picture, "--fail-on-defect").exit_code == 3


def test_nothing_inferred_exits_with_1(bundle, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    result = run("inspect", bundle.folder, "--source", tmp_path / "x.png", "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["failed"] == 1
    assert "no frame of this source could be inspected" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "{absent}", "--source", "{good}"], "expected a bundle folder"),
        (["inspect", "{bundle}", "--source", "{absent}"], "found nothing there"),
        (["inspect", "{bundle}", "--source", "{good}", "--jsonl", "{absent}/x"], "cannot write"),
        (["inspect", "{bundle}", "--source", "{good}", "--save-defects", "{good}"], "cannot write"),
        (["dataset", "check", "{absent}"], "expected a dataset folder"),
        (
            ["train", "{data}", "--method", "magic", "--out", "{absent}"],
            "expected a method of cflow, draem, gaussian, memory-bank",
        ),
        (
            ["train", "{data}", "--method", "memory-bank", "--backbone", "vgg", "--out", "{absent}"],
            "expected a backbone",
        ),
        (["train", "{absent}", "--method", "memory-bank", "--out", "{absent}"], "expected a dataset folder"),
        (["teach", "{data}", "--method", "memory-bank", "--out", "{data}"], "is no bundle"),
        (["export", "{absent}", "--out", "{absent}2"], "expected a run folder"),
        (["benchmark", "{absent}", "--data", "{data}", "--out", "{absent}2"], "expected a bundle folder"),
        (["benchmark", "{bundle}", "--data", "{absent}", "--out", "{absent}2"], "expected a dataset folder"),
        (["doctor", "{absent}"], "expected a bundle folder"),
        (["demo", "--out", "{data}"], "no earlier demo"),
        (["demo", "--out", "{good}"], "no earlier demo"),
        (["inspect", "{bundle}", "--source", ""], "got an empty --source"),
        (["inspect", "{bundle}", "--source", "/dev/null"], "found a pipe or device"),
        (["inspect", "{bundle}", "--source", "x" * 5000], "File name too long"),
    ],
)
def test_bad_input_is_one_message_and_exit_1(bundle, dataset_folder, good_picture, tmp_path, arguments, message):
    if arguments[0] in ("train", "teach", "export", "benchmark", "demo"):
        pytest.importorskip("torch", reason="needs the 'train' extra (torch)")
    places = {"bundle": bundle.folder, "data": dataset_folder, "good": good_picture, "absent": tmp_path / "absent"}
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 1, result.output
    assert message in result.stderr and result.stderr.count("Error:") == 1 and "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert not (tmp_path / "absent2").exists() or not list((tmp_path / "absent2").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_with_everything_written(bundle, good_picture, tmp_path, number):
    (tmp_path / "in").mkdir()
    for index in range(5000):
        (tmp_path / "in" / f"{index:04d}.png").hardlink_to(good_picture)
    process = spawn(
        "inspect", bundle.folder, "--source", tmp_path / "in", "--jsonl", tmp_path / "o", "--json", "--quiet"
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not ((tmp_path / "o").is_file() and (tmp_path / "o").stat().st_size):
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["stopped_by_signal"] and 0 < summary["inferred"] < 5000
    records = [json.loads(line) for line in (tmp_path / "o").read_text().splitlines()]
    assert len(records) == summary["captured"]


def test_a_closed_pipe_is_no_traceback(bundle, dataset_folder):
    process = spawn("inspect", bundle.folder, "--source", dataset_folder / "test/*/*.png")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=30)
    assert "Traceback" not in errors and process.returncode == 1


def test_one_sigterm_ends_it_when_nobody_reads_its_output(bundle, good_picture, tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(5000):  # far more lines than a pipe holds
        (tmp_path / "in" / f"{index:04d}.png").hardlink_to(good_picture)
    process = spawn("inspect", bundle.folder, "--source", tmp_path / "in", "--jsonl", tmp_path / "o")
    deadline = time.monotonic() + 30
    size = -1
    while time.monotonic() < deadline:  # until the pipe is full and nothing moves any more
        before, size = size, (tmp_path / "o").stat().st_size if (tmp_path / "o").is_file() else -1
        if before == size > 0:
            break
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 1
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stderr.close()


@pytest.mark.tmpfs
def test_a_full_disk_under_jsonl_is_one_message_and_exit_1(bundle, dataset_folder, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this system does not let us mount a tmpfs")
    try:
        result = run(
            "inspect", bundle.folder, "--source", dataset_folder / "test/*/*.png", "--json", "--jsonl", small / "o"
        )
        summary = json.loads(result.stdout)
        lines = (small / "o").read_text().splitlines(keepends=True)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert result.exit_code == 1 and summary["inferred"] == 29
    assert result.stderr.count("No space left on device") == 1
    assert all(line.endswith("\n") and json.loads(line) for line in lines)
    assert sum(summary["unwritten"].values()) == 29 - len(lines)


def test_check_lists_problems_and_exits_with_1(dataset_folder, tmp_path):
    assert run("dataset", "check", dataset_folder).exit_code == 0
    root = shutil.copytree(dataset_folder, tmp_path / "leather")
    (root / "ground_truth/cut/000_mask.png").unlink()
    (root / "ground_truth/cut/001_mask.png").write_bytes(b"")
    result = run("dataset", "check", root)
    assert result.exit_code == 1 and "20 of 21 defects with masks" in result.output
    assert "ground_truth/cut/001_mask.png: expected a picture, got an empty file" in result.output
    as_json = json.loads(run("dataset", "check", root, "--json").stdout)
    assert [problem["file"] for problem in as_json["problems"]] == ["ground_truth/cut/001_mask.png"]


def test_synth_makes_a_sound_dataset(tmp_path):
    size = ("--size", 64, "--train-good", 4, "--test-good", 2, "--defects-per-class", 1)
    assert run("dataset", "synth", "--out", tmp_path / "s", "--preset", "multi-colour", *size).exit_code == 0
    assert run("dataset", "check", tmp_path / "s").exit_code == 0


def test_doctor_names_the_machine_and_replays_the_golden_frames(bundle, bundle_copy):
    result = run("doctor", bundle.folder, "--json")
    report = json.loads(result.stdout)
    assert report["machine"]["usable_cores"] >= 1 and report["bundle"]["graphs"][0]["passed"]
    assert {part["name"] for part in report["parts"]} >= {"numpy", "onnxruntime", "torch"}
    assert "8 golden frames passed" in run("doctor", bundle.folder).stdout
    (bundle_copy / "fp32.onnx").write_bytes(b"x")
    assert run("doctor", bundle_copy).exit_code == 1


@pytest.mark.slow
@pytest.mark.train
def test_teach_goes_from_pictures_to_a_bundle_and_a_report(dataset_folder, tmp_path):
    result = run("teach", dataset_folder, "--method", "memory-bank", "--out", tmp_path / "b", "--json")
    assert result.exit_code == 0, result.output
    assert {row["backend"] for row in json.loads(result.stdout)["rows"]} == {"torch", "onnxruntime"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "b-report"]  # and no run, no staging folder
    again = run("teach", dataset_folder, "--method", "memory-bank", "--out", tmp_path / "b")
    assert again.exit_code == 1 and "--force" in again.stderr


@pytest.mark.train
def test_train_then_export(dataset_folder, tmp_path):
    assert run("train", dataset_folder, "--method", "memory-bank", "--out", tmp_path / "run").exit_code == 0
    result = run("export", tmp_path / "run", "--out", tmp_path / "b", "--false-alarm-rate", 0.1)
    assert result.exit_code == 0 and "10 % false alarms" in result.output
    assert run("doctor", tmp_path / "b").exit_code == 0


@pytest.mark.slow
@pytest.mark.train
def test_the_demo_leaves_a_bundle_an_inspected_film_pictures_and_a_report(tmp_path):
    result = run("demo", "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    out = tmp_path / "demo"
    records = [json.loads(line) for line in (out / "inspections.jsonl").read_text().splitlines()]
    assert len(records) == 60 and (out / "report" / "report.md").is_file() and (out / "bundle" / "fp32.onnx").is_file()
    assert len(list((out / "defects").iterdir())) == [record["verdict"] for record in records].count("defect") >= 8
    assert "of 37 good ones 0 were" in result.output


@pytest.mark.slow
@pytest.mark.train
def test_calibrate_with_a_guard_ranks_layers_and_says_what_it_cost(bundle_copy, dataset_folder, tmp_path):
    out = tmp_path / "layers"
    arguments = ("calibrate", bundle_copy, "--data", dataset_folder, "--images", 8, "--max-map-error", 1.2)
    result = run(*arguments, "--sensitivity", out, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)["graphs"][0]
    assert record["graph"] == "int8-onnxruntime.onnx" and record["cost"]["map_error"] <= 0.012
    rows = json.loads((out / "sensitivity.json").read_text())
    errors = [row["map_error"] for row in rows]
    assert errors == sorted(errors, reverse=True) and len(rows) == record["layers"]
    assert [row["name"] for row in rows if row["raised"]] == record["float_layers"]
    assert (out / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    refused = run("calibrate", bundle_copy, "--data", dataset_folder, "--images", 8, "--max-map-error", 0)
    assert refused.exit_code == 1 and "INT8 refused" in refused.stderr and "Allow more" in refused.stderr


@pytest.mark.train
def test_fp16_is_calibrated_inspected_and_said_to_be_no_faster_where_it_is_not(
    bundle_copy, dataset_folder, good_picture
):
    result = run("calibrate", bundle_copy, "--data", dataset_folder, "--precision", "fp16", "--max-map-error", 5)
    assert result.exit_code == 0 and "fp16.onnx against fp32" in result.output, result.output
    assert "times as fast as fp32" in result.output or "NOT faster than fp32" in result.output
    inspected = run("inspect", bundle_copy, "--source", good_picture, "--precision", "fp16", "--json")
    assert inspected.exit_code == 0 and json.loads(inspected.stdout)["graph"] == "fp16.onnx"
    assert json.loads(run("inspect", bundle_copy, "--source", good_picture, "--json").stdout)["precision"] == "int8"


def test_build_auto_is_what_inspect_takes_from_then_on(bundle_copy, good_picture):
    result = run("build", bundle_copy, "--precision", "auto", "--json")
    assert result.exit_code == 0, result.output
    times = json.loads(result.stdout)["median_ms_by_precision"]
    assert set(times) == {"fp32", "int8"}
    summary = json.loads(run("inspect", bundle_copy, "--source", good_picture, "--json").stdout)
    assert summary["precision"] == min(times, key=times.get)
    choice = next((bundle_copy / "engines").glob("*/choice.json"))
    record = json.loads(choice.read_text())
    choice.write_text(json.dumps(record | {"graphs": {"fp32.onnx": "0" * 64}}))  # as if calibrated again since
    assert json.loads(run("inspect", bundle_copy, "--source", good_picture, "--json").stdout)["precision"] == "int8"
    choice.write_text(json.dumps(record | {"backend": "foo"}))
    refused = run("inspect", bundle_copy, "--source", good_picture)
    assert refused.exit_code == 1 and "backend: expected one of" in refused.stderr
    choice.unlink()
    report = json.loads(run("doctor", bundle_copy, "--json").stdout)
    assert {engine["engine"] for engine in report["bundle"]["engines"]} == {"onnxruntime fp32", "onnxruntime int8"}
    assert all(engine["passed"] for engine in report["bundle"]["engines"])


def test_doctor_says_of_every_backend_what_is_missing(bundle):
    report = json.loads(run("doctor", "--json").stdout)
    backends = {backend["backend"]: backend for backend in report["backends"]}
    assert set(backends) == {"onnxruntime", "tensorrt", "tensorrt-rtx"}
    assert backends["onnxruntime"]["version"] and backends["onnxruntime"]["cannot_run"] is None
    for name in ("tensorrt", "tensorrt-rtx"):
        assert backends[name]["version"] or f"pip install 'edgeleather[{name}]'" in backends[name]["cannot_run"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["build", "{bundle}", "--backend", "onnxruntime", "--target", "8.6"], 1, "--target is for tensorrt-rtx"),
        (["build", "{bundle}", "--batch", "1", "2"], 2, "--batch"),
        (["build", "{bundle}", "--precision", "fp16"], 1, "edgeleather calibrate BUNDLE --data DATASET --precision fp16"),
        (["build", "{absent}"], 1, "expected a bundle folder"),
        (["inspect", "{bundle}", "--source", "{good}", "--trust-engine", "{absent}"], 1, "expected an engine file"),
        (["inspect", "{bundle}", "--source", "{good}", "--trust-engine", "{good}"], 1, "expected an engine file"),
        (["build", "{bundle}", "--workspace-mib", "99999999999999999999"], 2, "--workspace-mib"),
        (["build", "{bundle}", "--backend", "tensorrt-rtx", "--batch", "1", "1", "999999999999"], 2, "--batch"),
        (["calibrate", "{bundle}", "--data", "{absent}", "--precision", "fp16", "--sensitivity", "x"], 2, "ranks the layers"),
        (["inspect", "{bundle}", "--source", "{good}", "--trust-engine", "x", "--precision", "int8"], 2, "says by itself"),
        (["inspect", "{bundle}", "--source", "{good}", "--backend", "tensorrt-rtx"], 1, "edgeleather"),
    ],
)  # fmt: skip
def test_engines_that_cannot_be_are_one_message(bundle_copy, good_picture, tmp_path, arguments, code, message):
    names = {"bundle": bundle_copy, "absent": tmp_path / "absent", "good": good_picture}
    result = run(*(argument.format(**names) for argument in arguments))
    assert result.exit_code == code and message in result.output + result.stderr
    assert "Traceback" not in result.output
