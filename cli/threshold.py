"""`edgeleather threshold`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeleather.cli.options import (
    FiniteFloat,
    absolute_path,
    as_json_option,
    bundle_argument,
    print_json,
    threads_option,
    white_level_option,
)

_RATE = FiniteFloat(0, 1, min_open=True, max_open=True)


@click.command(epilog="Example: edgeleather threshold bundle --data photos --hit-rate 0.95")
@bundle_argument
@click.option(
    "--data", type=click.Path(path_type=Path), default=None, help="A dataset whose test pictures are labelled by class."
)
@click.option("--set", "value", type=FiniteFloat(), default=None, help="Choose this score.")
@click.option(
    "--false-alarm-rate",
    type=_RATE,
    default=None,
    help="Choose by good frames that may be called defects; 0.01 is 1 %.",
)
@click.option("--hit-rate", type=_RATE, default=None, help="Choose by defects of --data to be found; 0.95 is 95 %.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    default=None,
    help="The page.  [default: BUNDLE-threshold.html, or BUNDLE-ARTICLE-threshold.html, beside the bundle]",
)
@click.option("--precision", default=None, help="fp32, fp16 or int8, whose scores are shown.  [default: the bundle's]")
@threads_option
@white_level_option
@as_json_option
def threshold(
    bundle: Path,
    data: Path | None,
    value: float | None,
    false_alarm_rate: float | None,
    hit_rate: float | None,
    out: Path | None,
    precision: str | None,
    threads: int | None,
    white_level: int | None,
    as_json: bool,
) -> None:
    """Show what the verdict's threshold of BUNDLE does, as text and as a page, and choose another one.

    One of --set, --false-alarm-rate and --hit-rate writes the threshold into the bundle, for each of its graphs, with where it
    came from. Figures on pictures that it was chosen on are no measurement, and a benchmark on them says so.
    """
    from edgeleather.benchmarks.threshold_choice import ThresholdWish, choose_threshold
    from edgeleather.benchmarks.threshold_page import text

    given = sum(number is not None for number in (value, false_alarm_rate, hit_rate))
    if given > 1:
        raise click.UsageError("--set, --false-alarm-rate and --hit-rate exclude each other.")
    wish = ThresholdWish(value, false_alarm_rate, hit_rate) if given else None
    out = out or page_beside(bundle)
    report = choose_threshold(bundle, data, wish, out, precision, threads, white_level)
    if as_json:
        print_json(report | {"page": str(out)})
        return
    click.echo(text(report))
    click.echo(f"Look at {out}.")


def page_beside(bundle: Path) -> Path:
    """Where the page goes: beside the bundle; for one article of several beside that of all, since that holds bundles alone."""
    from edgeleather.bundle.articles import ARTICLES_FILE

    place, name = bundle.resolve(), bundle.resolve().name
    if (place.parent / ARTICLES_FILE).is_file():
        place, name = place.parent, f"{place.parent.name}-{name}"
    return place.parent / f"{name}-threshold.html"
