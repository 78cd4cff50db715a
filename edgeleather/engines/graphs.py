"""Which of a bundle's graphs a backend takes."""

from __future__ import annotations

import logging
from collections.abc import Collection

from edgeleather.bundle.bundle import Bundle, NeededFiles
from edgeleather.bundle.golden import GOLDEN_FOLDER, answers_file
from edgeleather.bundle.manifest import GRAPH_FILES, INT8_7BIT_GRAPH, Manifest
from edgeleather.engines.table import REFERENCE_BACKEND, capabilities
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.machine import saturates_integer_products

_LOGGER = logging.getLogger(__name__)


def graph_files(backend: str, precision: str) -> tuple[str, ...]:
    """The names of the graph files that a backend may take for a precision, the one to try first in front.

    Raises:
        EdgeLeatherError: no such backend, or it has no such precision.
    """
    graphs = capabilities(backend).graphs
    if precision not in graphs:
        raise EdgeLeatherError(f"expected a precision of {', '.join(graphs)} for {backend}, got {precision!r}.")
    return graphs[precision]


def graphs_of(bundle: Bundle, precision: str, backend: str = REFERENCE_BACKEND) -> tuple[str, ...]:
    """The graphs that a bundle has of those that a backend may take for a precision, the one to try first in front.

    Raises:
        EdgeLeatherError: the bundle has none; the message names the command that makes one.
    """
    wanted = graph_files(backend, precision)
    found = tuple(name for name in wanted if name in bundle.manifest.files)
    if saturates_integer_products():
        # Golden frames need not show it: an 8-bit graph that saturates now and then passed them with scores a tenth too high.
        found = tuple(sorted(found, key=lambda name: name != INT8_7BIT_GRAPH))
    if not found:
        have = ", ".join(sorted(name for name in GRAPH_FILES if name in bundle.manifest.files))
        dialect = "" if wanted == graph_files(REFERENCE_BACKEND, precision) else f" --backend {backend}"
        mend = f"edgeleather calibrate BUNDLE --data DATASET --precision {precision}{dialect}"
        raise EdgeLeatherError(
            f"{bundle.folder}: expected a graph {wanted[0]}, this bundle has {have}. Calibrate it with: {mend}"
        )
    return found


def default_precision(bundle: Bundle, backend: str = REFERENCE_BACKEND) -> str:
    """The bundle's own precision; in the reference backend fp32 where INT8 is its own and no graph of it fits this processor."""
    own = bundle.default_precision
    lacks_graph = own == "int8" and INT8_7BIT_GRAPH not in bundle.manifest.files
    if lacks_graph and backend == REFERENCE_BACKEND and saturates_integer_products():
        # An 8-bit graph fails its golden frames here, or gives scores that are too high: neither is a fault of this machine.
        _LOGGER.warning(
            "%s: this processor has no integer dot products, and the bundle has no 7-bit INT8 graph: fp32 is taken.",
            printable(str(bundle.folder)),
        )
        return "fp32"
    return own


def for_inspection(precision: str, backend: str) -> NeededFiles:
    """The files that an inspection at a precision reads: its graphs and golden frames."""

    def needs(manifest: Manifest) -> Collection[str]:
        graphs = graph_files(backend, precision)
        frames = [name for name in manifest.files if name.startswith(f"{GOLDEN_FOLDER}/") and name.endswith(".png")]
        return {*graphs, *(answers_file(graph) for graph in graphs), *frames} & manifest.files.keys()

    return needs
