"""All trials in local processes: what is done is not done again, and a trial that fails does not end the others."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeleather.benchmarks.experiment.plan import ExperimentSettings, Trial
from edgeleather.benchmarks.experiment.trial import ERROR_FILE, RESULT_FILE, trial_folder
from edgeleather.errors import EdgeLeatherError
from edgeleather.progress import Progress

_POLL_SECONDS = 0.2


def run_trials(settings: ExperimentSettings, todo: Sequence[Trial], out: Path, workers: int) -> list[dict[str, Any]]:
    """Run what has no result yet, at most `workers` at once; the results in the order of the trials.

    Raises:
        EdgeLeatherError: a trial failed; the others' results are kept, and the same command goes on.
    """
    waiting = [trial for trial in todo if not (trial_folder(out, trial) / RESULT_FILE).is_file()]
    failed: list[str] = []
    with Progress("trials", len(todo), done=len(todo) - len(waiting)) as progress:
        for trial, code in _finished(settings, waiting, out, workers):
            progress.advance()
            if code:
                failed.append(_reason(out, trial, code))
    if failed:
        raise EdgeLeatherError(
            f"{len(failed)} trials failed; the same command does only these again. {' '.join(failed)}"
        )
    return [json.loads((trial_folder(out, trial) / RESULT_FILE).read_text()) for trial in todo]


def _finished(
    settings: ExperimentSettings, waiting: Sequence[Trial], out: Path, workers: int
) -> Iterator[tuple[Trial, int]]:
    """Each trial with its exit code, as it ends; whatever runs is ended when this is."""
    queue, running = list(waiting), dict[Trial, subprocess.Popen[bytes]]()
    try:
        while queue or running:
            while queue and len(running) < workers:
                trial = queue.pop(0)
                running[trial] = _start(settings, trial, out)
            for trial, process in list(running.items()):
                if process.poll() is not None:
                    del running[trial]
                    yield trial, process.returncode
            time.sleep(_POLL_SECONDS)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()
            process.wait()


def _start(settings: ExperimentSettings, trial: Trial, out: Path) -> subprocess.Popen[bytes]:
    folder = trial_folder(out, trial)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ERROR_FILE).unlink(missing_ok=True)
    command = [sys.executable, "-m", "edgeleather.benchmarks.experiment.trial", str(out), trial.name]
    # What a process that is never asked for its threads takes: the workers share the cores.
    threads = {name: str(settings.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | threads)


def _reason(out: Path, trial: Trial, code: int) -> str:
    folder = trial_folder(out, trial)
    if (folder / ERROR_FILE).is_file():
        return f"{trial.name}: {(folder / ERROR_FILE).read_text()}"
    lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
    return f"{trial.name}: ended with {code}; {folder / 'log.txt'} ends with: {lines[-1] if lines else 'nothing'}"
