"""The three experiments on two tiny leathers, for real: run, killed, resumed, read."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from click.testing import CliRunner

from edgeleather.benchmarks.experiment.findings import findings
from edgeleather.benchmarks.experiment.paper import TABLE_OF, paper_tables, paper_value
from edgeleather.benchmarks.experiment.plan import ExperimentSettings, prepare_folder, trials
from edgeleather.benchmarks.experiment.protocol import split_scored
from edgeleather.benchmarks.experiment.tables import BETTER, COLUMNS, INTERVALS
from edgeleather.benchmarks.page import to_page
from edgeleather.bundle.bundle import read_bundle
from edgeleather.cli.main import main
from edgeleather.dataset.reading import read_dataset
from edgeleather.dataset.synthesis import SynthSettings, synthesize_dataset
from edgeleather.engines.engine import load_engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.inspection.inference import infer_frame
from edgeleather.methods.table import METHODS
from tests.browser import opened

pytestmark = pytest.mark.slow

METHOD = "ssim-ae"


@pytest.fixture(scope="module")
def leathers(tmp_path_factory):
    root = tmp_path_factory.mktemp("leathers")
    for name, preset, seed in (("one", "single-colour", 1), ("many", "multi-colour", 2)):
        size = {"size_px": 64, "train_good": 12, "test_good": 8, "defects_per_class": 2}
        synthesize_dataset(root / name, SynthSettings(preset=preset, seed=seed, **size))
    return root


def arguments(leathers, out):
    options = ["--first", leathers / "one", "--second", leathers / "many", "--methods", METHOD, "--budget", "quick"]
    return [str(word) for word in ("experiment", *options, "--precision", "fp32,int8", "--out", out)]


@pytest.fixture(scope="module")
def finished(leathers, tmp_path_factory):
    """An experiment that was killed after its first trial and started again; its folder and the first trial's result."""
    out = tmp_path_factory.mktemp("experiment") / "out"
    command = [sys.executable, "-c", "from edgeleather.cli.main import main; main()", *arguments(leathers, out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    first = out / "trials" / f"{METHOD}-first" / "result.json"
    deadline = time.monotonic() + 180
    while not first.is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert first.is_file(), output
    assert not (out / "results.json").exists() and "Traceback" not in output
    before = (first.read_bytes(), first.stat().st_mtime_ns)
    result = CliRunner().invoke(main, arguments(leathers, out))
    assert result.exit_code == 0, result.output
    return out, first, before


def test_what_was_done_is_not_done_again(finished):
    _, first, before = finished
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before


def test_every_table_has_the_method_in_every_precision(finished):
    out, _, _ = finished
    report = json.loads((out / "results.json").read_text())
    there = {(row["trained_on"], row["tested_on"], row["precision"]) for row in report["rows"]}
    assert there == {(*pair, precision) for pair in TABLE_OF for precision in ("fp32", "int8")}
    assert len(report["trials"]) == 3  # experiment 2 tests the models of experiment 1
    text = (out / "report.md").read_text()
    assert all(f"## Table {number}:" in text for number in range(1, 9))
    assert text.splitlines()[2].startswith("These are not the paper's figures")
    assert {"figure-1.png", "figure-2.png", "figure-3.png", "figure-4.png"} <= {path.name for path in out.iterdir()}


def test_a_cell_is_what_the_raw_maps_give(finished, leathers):
    """IoU at T2 and F1 at T3 of one row, recomputed from the maps by other means than the product's."""
    out, _, _ = finished
    row = next(
        row
        for row in json.loads((out / "results.json").read_text())["rows"]
        if (row["trained_on"], row["tested_on"], row["precision"]) == ("first", "second", "fp32")
    )
    bundle = read_bundle(out / "trials" / f"{METHOD}-first" / "bundle")
    fitted, rest = split_scored(read_dataset(leathers / "many", needs="test"), 0)
    assert not {s.group for s in fitted} & {s.group for s in rest} and len(rest) == row["scored_images"]
    with closing(load_engine("onnxruntime", bundle.folder / "fp32.onnx", "fp32")) as engine:
        maps = {s.name: infer_frame(engine, s.read(), bundle.manifest.input_mode).anomaly_map for s in (*fitted, *rest)}
    import cv2

    def truth(sample):
        mask = sample.read_mask((64, 64))
        shape = maps[sample.name].shape
        return cv2.resize((mask > 0).astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA) >= 0.5

    above = np.stack([maps[s.name] > row["t2"] for s in rest])
    masks = np.stack([truth(s) for s in rest])
    assert (above & masks).sum() / (above | masks).sum() == pytest.approx(row["iou_t2"], abs=2e-3)
    predicted = np.array([maps[s.name].max() > row["t3"] for s in rest])
    defective = np.array([not s.is_good for s in rest])
    assert 2 * (predicted & defective).sum() / (predicted.sum() + defective.sum()) == pytest.approx(row["f1_t3"])
    # T3 itself is the F1 optimum on the pictures set aside.
    scores, labels = np.array([maps[s.name].max() for s in fitted]), np.array([not s.is_good for s in fitted])
    f1 = [2 * ((scores > t) & labels).sum() / ((scores > t).sum() + labels.sum()) for t in (*scores - 1e-6, row["t3"])]
    assert f1[-1] == pytest.approx(max(f1))


def test_every_cell_of_the_page_is_its_rows_number_in_the_json(finished):
    out, _, _ = finished
    report = json.loads((out / "results.json").read_text())
    page = (out / "index.html").read_text()
    checked = 0
    for pair, number in TABLE_OF.items():
        section = re.search(rf"<h2>Table {number}: tested.*?(?=<h2>)", page, re.DOTALL)[0]
        first, second = re.findall(r"<tbody>(.*?)</tbody>", section, re.DOTALL)
        rows = [row for row in report["rows"] if (row["trained_on"], row["tested_on"]) == pair]
        for columns, body in ((COLUMNS, first), ((*BETTER, *INTERVALS), second)):
            for row, line in zip(rows, re.findall(r"<tr>(.*?)</tr>", body), strict=True):
                method, precision, *cells = re.findall(r"<td[^>]*>([^<]*)</td>", line)
                assert (method, precision) == (row["method"], row["precision"])
                for (key, _), cell in zip(columns, cells, strict=True):
                    value, theirs = row[key], paper_value(*pair, method, key)
                    if isinstance(value, list):
                        expected = f"{100 * value[0]:.2f} to {100 * value[1]:.2f}"
                    else:
                        expected = "-" if value is None else f"{100 * value:.2f}"
                    assert cell == (expected if theirs is None else f"{expected} ({theirs:.2f})"), key
                    checked += 1
    assert checked == 12 * (len(COLUMNS) + len(BETTER) + len(INTERVALS))
    assert page.count("data:image/png;base64,") == 4 and "http" not in page
    assert all(sentence in (out / "report.md").read_text() for sentence in report["findings"])


def test_a_command_that_is_killed_leaves_nobody_behind(leathers, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from edgeleather.cli.main import main; main()", *arguments(leathers, out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lock = out / "trials" / f"{METHOD}-first" / "lock"
    deadline = time.monotonic() + 60
    while not lock.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    again = CliRunner().invoke(main, [*arguments(leathers, out), "--json"])
    assert again.exit_code == 0, again.output
    assert len(json.loads(again.stdout)["trials"]) == 3


def row(method, trained_on, tested_on, auroc, precision="fp32", **changes):
    values = dict.fromkeys(("iou_t1", "pro_t1", "f1_t1", "pixel_auroc"), 0.4) | dict.fromkeys(
        ("iou_t2", "pro_t2", "f1_t3"), 0.5
    )
    named = {"method": method, "trained_on": trained_on, "tested_on": tested_on, "precision": precision}
    return values | named | {"image_auroc": auroc, "sharpness_auroc": 0.9} | changes


NAMES = {"first": "one", "second": "many", "both": "both leathers"}


def test_findings_are_what_the_rows_say():
    rows = [
        row("draem", "first", "first", 1.0), row("stfpm", "first", "first", 1.0), row("cflow", "first", "first", 0.9),
        row("stfpm", "second", "second", 0.8), row("cflow", "second", "second", 0.95, pro_t2=0.1),
        row("cflow", "second", "first", 0.7), row("cflow", "both", "first", 0.95),
        row("cflow", "first", "first", 0.85, "int8"),
    ]  # fmt: skip
    found = "\n".join(findings(rows, NAMES))
    assert "IoU is higher at T2 than at T1 in 7 of 7 rows; on average 50.00 % against 40.00 %" in found
    assert "PRO is higher at T2 than at T1 in 6 of 7 rows" in found
    assert (
        "draem, is neither confirmed nor refuted on one: of 3 methods it is by image AUROC first, with stfpm" in found
    )
    assert (
        "stfpm, is not confirmed on many: of 2 methods it is by image AUROC number 2; the first is cflow at 95.00 %"
        in found
    )
    assert "Tested on one but trained on many, image AUROC changes by (points): cflow -20.0" in found
    assert "Tested on one but trained on both leathers, image AUROC changes by (points): cflow +5.0" in found
    assert (
        "int8 against fp32: image AUROC changes by -5.00 points on average; the most it loses is 5.00 (cflow" in found
    )


def test_findings_of_experiment_2_alone_say_nothing_of_what_was_not_run():
    found = "\n".join(findings([row("cflow", "second", "first", 0.7)], NAMES))
    assert "advice" not in found and "trained on it" not in found and "changes by" not in found
    alone = findings([row("draem", "first", "first", 0.99), row("cflow", "first", "first", 0.9)], NAMES)
    assert any("draem, is confirmed on one: of 2 methods it is by image AUROC the first" in text for text in alone)


def test_pictures_at_one_scale_are_as_sharp_as_the_smallest(tmp_path):
    import cv2

    from edgeleather.benchmarks.experiment.protocol import score_maps, smallest_side
    from edgeleather.dataset.reading import Sample
    from edgeleather.engines.engine import Maps, Signature
    from edgeleather.imaging.preprocess import InputMode

    class Flat:
        signature = Signature("x", "fp32", "cpu", {}, "0" * 64, (64, 64), (1, None))

        def infer(self, images):
            return Maps(np.zeros(images.shape[:3], np.float32), np.zeros(len(images), np.float32))

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "large.png"), noise)
    cv2.imwrite(str(tmp_path / "small.png"), noise[:32, :32])
    samples = [Sample(tmp_path / f"{name}.png", name, "good", name) for name in ("large", "small")]
    assert smallest_side(samples) == 32 and smallest_side(samples[:1]) is None
    mode = InputMode("resize", (64, 64), None)
    before, after = score_maps(Flat(), samples, mode).sharpness, score_maps(Flat(), samples, mode, 32).sharpness
    assert before[0] > 5 * before[1] and 0.2 < after[0] / after[1] < 5 and after[1] == before[1]


@pytest.mark.browser
def test_a_browser_shows_the_page_and_its_pictures_without_errors(finished, tmp_path):
    out, _, _ = finished
    widths, _ = opened((out / "index.html").read_text(), tmp_path)
    assert len(widths) == 4 and all(width > 100 for width in widths)


def test_the_same_folder_takes_no_other_settings_and_no_strangers(finished, leathers, tmp_path):
    out, _, _ = finished
    other = CliRunner().invoke(main, [*arguments(leathers, out), "--seed", "1"])
    assert other.exit_code == 1 and "experiment of other settings" in other.stderr
    (tmp_path / "mine.txt").write_text("x")
    stranger = CliRunner().invoke(main, arguments(leathers, tmp_path))
    assert stranger.exit_code == 1 and "expected a new or empty folder" in stranger.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--methods", "magic"], 2, "expected some of cflow"),
        (["--experiments", "4"], 2, "expected some of 1, 2, 3"),
        (["--precision", ","], 2, "expected some of fp32"),
        (["--first", "/absent"], 1, "expected a dataset folder"),
    ],
)
def test_wrong_options_are_one_message(leathers, tmp_path, options, code, message):
    result = CliRunner().invoke(main, [*arguments(leathers, tmp_path / "x"), *options])
    assert result.exit_code == code and message in result.output + result.stderr


def test_a_trial_that_fails_names_itself_and_keeps_the_others(leathers, tmp_path):
    broken = shutil.copytree(leathers / "many", tmp_path / "many")
    next((broken / "test" / "cut").glob("*.png")).write_bytes(b"no picture")
    options = [*arguments(leathers, tmp_path / "x"), "--second", str(broken), "--experiments", "1"]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 1 and f"{METHOD}-second:" in result.stderr and "does not decode" in result.stderr
    assert (tmp_path / "x" / "trials" / f"{METHOD}-first" / "result.json").is_file()


def test_trials_are_those_that_the_experiments_need():
    def plan(*experiments):
        return trials(
            ExperimentSettings("a", "b", ("stfpm",), experiments, ("fp32",), "edge", "quick", None, "imagenet", 0, 1)
        )

    assert [(t.trained_on, t.tested_on) for t in plan(1)] == [("first", ("first",)), ("second", ("second",))]
    assert [(t.trained_on, t.tested_on) for t in plan(2)] == [("first", ("second",)), ("second", ("first",))]
    assert [t.trained_on for t in plan(1, 2, 3)] == ["first", "second", "both"]


def test_the_joined_leather_keeps_photographs_apart(leathers, tmp_path):
    settings = ExperimentSettings(
        str(leathers / "one"),
        str(leathers / "many"),
        ("stfpm",),
        (3,),
        ("fp32",),
        "edge",
        "quick",
        None,
        "imagenet",
        0,
        1,
    )
    prepare_folder(settings, tmp_path / "out")
    both, parts = read_dataset(tmp_path / "out/both", needs="train"), [
        read_dataset(leathers / name, needs="train") for name in ("one", "many")
    ]  # fmt: skip
    assert len(both.train_good) == sum(len(part.train_good) for part in parts)
    assert len({s.group for s in both.train_good}) == sum(len({s.group for s in part.train_good}) for part in parts)
    assert all(sample.read_mask((64, 64)).any() for sample in both.test if not sample.is_good)
    with pytest.raises(EdgeLeatherError, match="expected methods of"):
        trials(ExperimentSettings("a", "b", ("magic",), (1,), ("fp32",), "edge", "quick", None, "imagenet", 0, 1))


def test_the_papers_tables_are_whole():
    data = paper_tables()
    assert set(data["tables"]) == set("12345678") and "VISAPP 2023" in data["source"]
    assert all(set(data["tables"][number]["rows"]) <= set(METHODS) for number in "12345678")
    assert paper_value("first", "first", "cflow", "image_auroc") == 100 and len(data["discrepancies"]) >= 5
    assert paper_value("both", "second", "draem", "image_auroc") == 78.69
    assert paper_value("first", "first", "memory-bank", "iou_t1") is None


def test_a_page_escapes_what_it_shows():
    page = to_page("# A <b>\n\nx & `y`\n\n| a | b |\n|---|---:|\n| <script> | 1 |", {})
    assert (
        "<script>" not in page and "&lt;script&gt;" in page and "<code>y</code>" in page and "class=number>1<" in page
    )
