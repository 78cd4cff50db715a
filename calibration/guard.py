"""The guard: a budget for what INT8 may cost, kept by leaving the most sensitive layers in higher precision, or refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeleather.bundle.manifest import Cost
from edgeleather.calibration.comparison import CandidateGraph, Comparison
from edgeleather.calibration.quantiser import Quantiser
from edgeleather.calibration.sensitivity import LayerError, LayerRanking
from edgeleather.errors import EdgeLeatherError

_MOST_RAISED = 0.5  # of the layers; beyond that there is nothing left that INT8 would gain from


@dataclass(frozen=True)
class Budget:
    """What a graph may cost against fp32 (see `Cost`); None sets no limit.

    Where a limit is not `required`, what cannot be measured breaks none.
    """

    max_flips: int | None = None
    max_auroc_drop: float | None = None
    max_map_error: float | None = None
    max_aupro_drop: float | None = None
    required: bool = True

    def broken_by(self, cost: Cost) -> str:
        """Which limits a cost exceeds, in words; empty where it holds them all.

        Raises:
            EdgeLeatherError: a limit is set on what the compared frames cannot tell.
        """
        if not math.isfinite(cost.map_error):
            return "the maps are not finite everywhere"
        for limit, drop, option in (
            (self.max_auroc_drop, cost.auroc_drop, "--max-auroc-drop"),
            (self.max_aupro_drop, cost.aupro_drop, "--max-aupro-drop"),
        ):
            if limit is not None and drop is None and self.required:
                raise EdgeLeatherError(
                    f"{option} cannot be measured on this bundle's validation pictures (of frames of several tiles no synthetic "
                    "defect has a mask). Use --max-map-error or --max-flips."
                )
        broken = []
        if self.max_map_error is not None and not cost.map_error <= self.max_map_error:
            broken.append(f"map error {100 * cost.map_error:.3g} % ({100 * self.max_map_error:g} % allowed)")
        if self.max_flips is not None and len(cost.flips) > self.max_flips:
            broken.append(f"{len(cost.flips)} flipped verdicts ({self.max_flips} allowed: {', '.join(cost.flips)})")
        if self.max_auroc_drop is not None and cost.auroc_drop is not None and cost.auroc_drop > self.max_auroc_drop:
            broken.append(f"{cost.auroc_drop:.4f} of image AUROC lost ({self.max_auroc_drop:g} allowed)")
        if self.max_aupro_drop is not None and cost.aupro_drop is not None and cost.aupro_drop > self.max_aupro_drop:
            broken.append(f"{cost.aupro_drop:.4f} of AUPRO lost ({self.max_aupro_drop:g} allowed)")
        return "; ".join(broken)


# What `teach` and `calibrate` hold where the user sets no limit; AUROC and AUPRO where they can be measured.
DEFAULT_BUDGET = Budget(max_map_error=0.005, max_auroc_drop=0.01, max_aupro_drop=0.01, required=False)


class BudgetError(EdgeLeatherError):
    """A precision that breaks its budget whatever is done; `ranking` has the layers, where they were ranked."""

    def __init__(self, message: str, ranking: Sequence[LayerError] = ()) -> None:
        super().__init__(message)
        self.ranking = tuple(ranking)


@dataclass(frozen=True)
class GuardedGraph:
    """A graph that was tried, the layers that it keeps in higher precision, and its cost."""

    graph: CandidateGraph
    raised: tuple[str, ...]
    cost: Cost


def hold(budget: Budget, ranking: LayerRanking, quantiser: Quantiser, comparison: Comparison) -> GuardedGraph:
    """Raise layers, the most sensitive first, until the budget holds, and then no more of them than it takes.

    `ranking` is measured only where the budget does not hold at once.

    Raises:
        BudgetError: it does not hold with half of the layers raised; the ranking is in it.
    """
    first = _tried((), quantiser, comparison)
    if not budget.broken_by(first.cost):
        return first
    order = [error.layer for error in ranking.errors()]
    most = int(_MOST_RAISED * len(order))
    low, high, held = 0, 1, None  # `low` breaks the budget, `high` is tried next
    while held is None and high <= most:
        tried = _tried(order[:high], quantiser, comparison)
        if budget.broken_by(tried.cost):
            low, high = high, min(2 * high, most) if high < most else most + 1
        else:
            held = tried
    if held is None:
        raise BudgetError(
            f"INT8 refused: with {most} of {len(order)} layers in higher precision it still breaks the budget: "
            f"{budget.broken_by(_tried(order[:most], quantiser, comparison).cost)}. Without any it was: "
            f"{budget.broken_by(first.cost)}. Allow more, or use fp32 or fp16.",
            ranking.errors(),
        )
    while high - low > 1:
        middle = (low + high) // 2
        tried = _tried(order[:middle], quantiser, comparison)
        if budget.broken_by(tried.cost):
            low = middle
        else:
            high, held = middle, tried
    return held


def _tried(raised: Sequence[str], quantiser: Quantiser, comparison: Comparison) -> GuardedGraph:
    graph = quantiser.graph(raised)
    return GuardedGraph(graph, tuple(raised), comparison.cost(graph))
