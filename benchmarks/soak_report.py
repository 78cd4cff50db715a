"""A soak's figures as Markdown and as a picture."""

from __future__ import annotations

import io
import statistics
from typing import Any

LEAST_SHARE_OF_FPS = 0.95
MOST_TIMES_P95 = 1.3


def fps_share(result: dict[str, Any]) -> float:
    """Median over the rounds of the station's frames a second as a share of the engine's."""
    return float(statistics.median(one["station"] / one["engine"] for one in result["speed_rounds"]))


def p95_ratio(result: dict[str, Any]) -> float:
    """Median over the rounds of the station's p95 to the verdict, as a multiple of the engine's own."""
    return float(statistics.median(one["station"] / one["engine"] for one in result["paced_rounds"]))


def soak_report(result: dict[str, Any]) -> str:
    """Markdown: what was measured, beside what was asked for."""
    run = result["endurance"]
    speed, paced = result["speed_rounds"], result["paced_rounds"]
    height, width = result["image_size_hw"]

    def median(rounds: list[dict[str, float]], name: str) -> float:
        return statistics.median(one[name] for one in rounds)

    waiting = ", ".join(f"{name} {count}" for name, count in run["waiting_at_the_end"].items())
    return f"""# A station's soak

`{result["method"]}`, {result["precision"]}, {width} x {height}, on {result["cpu"]} with {result["cores"]} cores; a defect every
{result["defect_every_frames"]} frames of {result["pictures"]} ({median(speed, "station") / result["defect_every_frames"]:.1f} a second from memory). Store, pictures of defects, a webhook and a JSON-lines sink were on.

| what | engine alone | station | ratio | asked for |
|---|---:|---:|---:|---|
| frames a second from memory, median of {len(speed)} alternating rounds of {result["round_frames"]} frames | {median(speed, "engine"):.1f} | {median(speed, "station"):.1f} | {fps_share(result):.3f} | at least {LEAST_SHARE_OF_FPS} |
| p95 to the answer on a 30 FPS source, ms, median of {len(paced)} alternating rounds | {median(paced, "engine"):.2f} | {median(paced, "station"):.2f} | {p95_ratio(result):.2f} | at most {MOST_TIMES_P95} |

{run["frames"]} frames in {run["seconds"]:.0f} s ({run["fps"]:.1f} a second): {run["rows"]} rows, {run["unrecorded"]} unrecorded,
{run["defects"]} defects, {run["pictures_kept"]} pictures kept and {run["pictures_skipped"]} skipped. The store then took {run["store_mb"]:.1f} MB.
Events that waited for a sink at the end: {waiting}. Resident memory was {run["resident_mb"][0]:.1f} MB after {run["sample_frames"]} frames and
{run["resident_mb"][-1]:.1f} MB at the end; over the second half it grew by {run["growth_second_half_mb"]:.1f} MB.
"""  # noqa: E501 - a table's rows


def soak_picture(result: dict[str, Any]) -> bytes:
    """A PNG of resident memory over the frames."""
    from matplotlib.figure import Figure

    run = result["endurance"]
    figure = Figure(figsize=(8, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    frames = [run["sample_frames"] * (1 + index) for index in range(len(run["resident_mb"]))]
    axes.plot(frames, run["resident_mb"], linewidth=1.4)
    axes.set_ylim(0, 1.25 * max(run["resident_mb"]))
    axes.set_xlabel("frames")
    axes.set_ylabel("resident memory, MB")
    axes.grid(alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
