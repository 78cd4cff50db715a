"""What a station costs, and whether it holds: `python -m edgeleather.benchmarks.soak BUNDLE --pictures DATASET --out DIR`.

The loop with store, pictures and two sinks against its own engine, in alternating rounds of one process: frames a second from
memory, and time to the verdict on a 30 FPS source; then memory over many frames. The webhook receiver is a process of its own.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from edgeleather import __version__
from edgeleather.arrays import AnyArray
from edgeleather.benchmarks.soak_report import soak_picture, soak_report
from edgeleather.bundle.bundle import read_bundle
from edgeleather.dataset.reading import read_dataset
from edgeleather.errors import EdgeLeatherError
from edgeleather.events.entry import Entry
from edgeleather.events.journal import Journal, StoreSettings
from edgeleather.events.pictures import PictureRules
from edgeleather.events.recording import RecordingSettings, opened_journal
from edgeleather.events.sinks.json_lines import JsonLinesSettings
from edgeleather.events.sinks.table import SinkSettings
from edgeleather.events.sinks.webhook import WebhookSettings
from edgeleather.events.stop import Stop
from edgeleather.events.store import VERDICT_TOPICS, Filter, Store, Topic
from edgeleather.events.writers import LoopWriter
from edgeleather.files import write_atomically
from edgeleather.imaging.images import read_image
from edgeleather.imaging.preprocess import prepare
from edgeleather.imaging.quiet import quiet_opencv
from edgeleather.inspection.inspector import Inspector, InspectorSettings
from edgeleather.logs import LogSettings, logging_to
from edgeleather.machine import cpu_name, usable_cores
from edgeleather.progress import track
from edgeleather.sources.credentials import Credentials
from edgeleather.sources.frame import DropPolicy, Frame, FrameSource
from edgeleather.station.guarded_run import GuardedRun
from edgeleather.station.loop import Counts, run_loop
from edgeleather.station.watchdog import DEFAULT_HUNG_SECONDS

_TOPICS: tuple[Topic, ...] = ("defect", "alarm", "fault")
_SAMPLE_FRAMES = 500
_PERIOD_SECONDS = 1 / 30
_PACED_FRAMES = 150
_TURN_FRAMES = 2500  # long enough that what a start costs once (fonts, connections) is not taken for what a frame costs
_MOST_PICTURES = 32  # a frame that a camera has just given lies in the processor's cache; hundreds in turn would not


class TimedSource:
    """Frames from memory in turn, at a pace if one is given; `given_at` is when each was there (perf_counter, seconds)."""

    drop_policy: DropPolicy = "every_frame"
    dropped = 0

    def __init__(self, images: list[AnyArray], count: int, period_seconds: float = 0.0, keeps: bool = True) -> None:
        self.total: int | None = count
        self._keeps = keeps
        self.given_at: list[float] = []
        self._images, self._count, self._period = images, count, period_seconds

    def close(self) -> None:
        """Nothing is held before the first frame."""

    def __iter__(self) -> Generator[Frame, None, None]:
        started = time.perf_counter()
        for index, image in zip(range(self._count), itertools.cycle(self._images)):
            due = started + index * self._period
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            if self._keeps:
                self.given_at.append(time.perf_counter())
            yield Frame(index, time.time(), "memory", image)


class Probe:
    """Stands where the writers stand: when each verdict was out."""

    def __init__(self) -> None:
        self.out_at: list[float] = []

    def put(self, entry: Entry, stop: Stop, waits: bool = True) -> None:
        self.out_at.append(time.perf_counter())

    def close(self, stop: Stop) -> None:
        pass


class MemoryProbe:
    """The same for resident memory, every 500 frames; it keeps nothing else, which would grow."""

    def __init__(self) -> None:
        self.resident_mb: list[float] = []

    def put(self, entry: Entry, stop: Stop, waits: bool = True) -> None:
        if entry.inspection.frame % _SAMPLE_FRAMES == _SAMPLE_FRAMES - 1:
            self.resident_mb.append(_resident_mb())

    def close(self, stop: Stop) -> None:
        pass


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--pictures", required=True, type=click.Path(path_type=Path), help="A data set: good ones and defects.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for soak.json, soak.md and soak.png."
)
@click.option("--frames", default=50_000, show_default=True, type=click.IntRange(2 * _SAMPLE_FRAMES))
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(3))
@click.option("--defect-every", default=500, show_default=True, type=click.IntRange(2), help="Frames a defect.")
@click.option("--work", required=True, type=click.Path(path_type=Path), help="A new folder for the store.")
def main(bundle: Path, pictures: Path, out: Path, frames: int, rounds: int, defect_every: int, work: Path) -> None:
    """Soak BUNDLE and write what was measured."""
    try:
        if work.exists():
            raise EdgeLeatherError(f"expected no folder at {work} yet, found one. Choose another --work.")
        work.mkdir(parents=True)
        out.mkdir(parents=True, exist_ok=True)
        with quiet_opencv(), logging_to(LogSettings(level="warning")):
            result = soak(bundle, pictures, work, frames, rounds, defect_every)
    except EdgeLeatherError as error:
        raise click.ClickException(str(error)) from error
    write_atomically(out / "soak.json", (json.dumps(result, indent=1) + "\n").encode())
    write_atomically(out / "soak.md", soak_report(result).encode())
    write_atomically(out / "soak.png", soak_picture(result))
    click.echo(soak_report(result))


def soak(bundle: Path, pictures: Path, work: Path, frames: int, rounds: int, defect_every: int) -> dict[str, Any]:
    """All that is measured, as one JSON object."""
    read = read_bundle(bundle)
    with contextlib.closing(Inspector(read, InspectorSettings())) as inspector, webhook_receiver() as address:
        images, count = frames_of(inspector, pictures, defect_every)
        speed = [
            speed_round(inspector, images, work / "speed", address, turn) for turn in track(range(rounds), "speed")
        ]
        paced = [
            paced_round(inspector, images, work / "paced", address, turn) for turn in track(range(rounds), "30 FPS")
        ]
        endurance = endure(inspector, images, work / "endurance", address, frames)
        return {
            "edgeleather": __version__,
            "cpu": cpu_name(),
            "cores": usable_cores(),
            "bundle": bundle.name,
            "method": read.manifest.method,
            "precision": inspector.precision,
            "image_size_hw": list(inspector.mode.image_size_hw),
            "pictures": pictures.name,
            "defect_every_frames": defect_every,
            "defects_in_turn": count,
            "round_frames": len(images),
            "speed_rounds": speed,
            "paced_rounds": paced,
            "endurance": endurance,
        }


def frames_of(inspector: Inspector, pictures: Path, defect_every: int) -> tuple[list[AnyArray], int]:
    """A turn of frames that the bundle calls good, with one that it calls a defect in each `defect_every`; and how many.

    Raises:
        EdgeLeatherError: the pictures have no such frames.
    """
    dataset = read_dataset(pictures, needs="any")
    good, defects = list[AnyArray](), list[AnyArray]()
    for sample in track([*dataset.train_good, *dataset.test], "pictures"):
        image = read_image(sample.path)
        verdict = inspector.inspect(Frame(0, 0.0, "", image)).verdict
        if verdict == "good" and sample.is_good and len(good) < _MOST_PICTURES:
            good.append(image)
        elif verdict == "defect" and not sample.is_good and len(defects) < _MOST_PICTURES:
            defects.append(image)
    if not good or not defects:
        raise EdgeLeatherError(
            f"{pictures}: expected pictures that the bundle calls good, and defects, found none of one kind."
        )
    turn = list[AnyArray]()
    good_ones = itertools.cycle(good)
    count = max(2, -(-_TURN_FRAMES // defect_every))
    for defect in itertools.islice(itertools.cycle(defects), count):
        turn += [next(good_ones) for _ in range(defect_every - 1)] + [defect]
    return turn, count


def speed_round(
    inspector: Inspector, images: list[AnyArray], folder: Path, address: str, turn: int
) -> dict[str, float]:
    """Frames a second of the engine alone, and of the loop with all that a station has."""
    fps = {}
    for work in _in_turn(turn):
        times = _times(work, inspector, images, folder, address, 0.0)
        fps[work] = (len(times) - 1) / (times[-1][1] - times[0][1])
    return fps


def paced_round(
    inspector: Inspector, images: list[AnyArray], folder: Path, address: str, turn: int
) -> dict[str, float]:
    """p95 in ms from the frame to the answer at 30 FPS: of the engine alone, and to the verdict of a station."""
    p95_ms = {}
    for work in _in_turn(turn):
        times = _times(work, inspector, images[-_PACED_FRAMES:], folder, address, _PERIOD_SECONDS)
        p95_ms[work] = float(np.percentile([1e3 * (out - given) for given, out in times[10:]], 95))
    return p95_ms


def _in_turn(turn: int) -> tuple[str, str]:
    return ("engine", "station") if turn % 2 else ("station", "engine")


def endure(inspector: Inspector, images: list[AnyArray], folder: Path, address: str, frames: int) -> dict[str, Any]:
    """Resident memory every 500 frames of a long run, and whether the store then has all of it."""
    probe, source = MemoryProbe(), TimedSource(images, frames, keeps=False)
    with opened_journal(recording(folder, address), Credentials(folder), Stop()) as journal:
        counts = _run(_Tracked(source), inspector, probe, journal)
    with contextlib.closing(Store(folder)) as store:
        rows = sum(1 for _ in store.select(Filter(topics=VERDICT_TOPICS)))
        waiting = {sink.name: sink.waiting for sink in store.sinks()}
    later = probe.resident_mb[len(probe.resident_mb) // 2 :]
    return {
        "frames": frames,
        "seconds": counts.seconds,
        "fps": counts.fps,
        "defects": counts.defects,
        "unrecorded": counts.unrecorded,
        "rows": rows,
        "waiting_at_the_end": waiting,
        "pictures_kept": journal.pictures.kept if journal.pictures else 0,
        "pictures_skipped": journal.pictures.skipped if journal.pictures else 0,
        "store_mb": sum(path.stat().st_size for path in folder.glob("events.sqlite*")) / 1e6,
        "resident_mb": probe.resident_mb,
        "sample_frames": _SAMPLE_FRAMES,
        "growth_second_half_mb": statistics.median(later[-5:]) - statistics.median(later[:5]),
    }


class _Tracked:
    """A source with a progress bar."""

    drop_policy: DropPolicy = "every_frame"
    dropped = 0

    def __init__(self, source: TimedSource) -> None:
        self._source, self.total = source, source.total

    def close(self) -> None:
        """Nothing is held before the first frame."""

    def __iter__(self) -> Generator[Frame, None, None]:
        yield from track(self._source, "endurance", self.total)


def _times(
    work: str, inspector: Inspector, images: list[AnyArray], folder: Path, address: str, period_seconds: float
) -> list[tuple[float, float]]:
    """When each frame was there and when its answer or verdict was out (perf_counter, seconds)."""
    source, probe = TimedSource(images, len(images), period_seconds), Probe()
    if work == "station":
        with opened_journal(recording(folder, address), Credentials(folder), Stop()) as journal:
            _run(source, inspector, probe, journal)
        return list(zip(source.given_at, probe.out_at, strict=True))
    prepared = {id(image): prepare(image, inspector.mode).images for image in {id(one): one for one in images}.values()}
    for frame in source:
        inspector.engine.infer(prepared[id(frame.image)])
        probe.out_at.append(time.perf_counter())
    return list(zip(source.given_at, probe.out_at, strict=True))


def _run(source: FrameSource, inspector: Inspector, probe: LoopWriter, journal: Journal) -> Counts:
    """The loop as a station runs it, with its engine watched."""
    run = GuardedRun(inspector, [probe], Stop(), journal, None)
    with run.watched(DEFAULT_HUNG_SECONDS):
        return run_loop(source, run, run.writers, Stop(), journal)


def recording(folder: Path, address: str) -> RecordingSettings:
    """A store with pictures and two sinks: the webhook and a JSON-lines file."""
    sinks: dict[str, SinkSettings] = {
        "webhook": WebhookSettings("webhook", address, _TOPICS),
        "log": JsonLinesSettings("jsonl", "events.jsonl", _TOPICS),
    }
    folder.mkdir(exist_ok=True)
    store = StoreSettings(folder=str(folder), pictures=PictureRules(max_mb=100, free_floor_mb=100))
    return RecordingSettings(folder, "soak", store=store, sinks=sinks)


@contextlib.contextmanager
def webhook_receiver() -> Iterator[str]:
    """The address of a receiver in another process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_receive, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/"
    finally:
        process.terminate()
        process.join()


class _Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps the connection

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
        pass


def _receive(pipe: Any) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    pipe.send(server.server_address[1])
    server.serve_forever()


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
