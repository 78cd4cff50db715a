"""Chromium without a window, for pages that the tests write."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

# Runs when the page is whole: how wide its pictures are, and whether the page is wider than the window.
_PROBE = (
    "<script>onload=()=>{document.title=[...document.images].map(i=>i.naturalWidth).join()+';'"
    "+(document.documentElement.scrollWidth-innerWidth)}</script>"
)
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--dump-dom",
)  # fmt: skip


def opened(page: str, folder: Path, width_px: int = 1400) -> tuple[list[int], int]:
    """The widths of a page's pictures, and by how many pixels it is wider than the window; fails where the console has errors."""
    (folder / "page.html").write_text(page + _PROBE)
    chromium = shutil.which("chromium")
    assert chromium
    place = [f"--user-data-dir={folder / 'profile'}", f"--window-size={width_px},900", f"file://{folder}/page.html"]
    shown = subprocess.run([chromium, *_OPTIONS, *place], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in shown.stderr
    found = re.search(r"<title>([\d,]*);(-?\d+)</title>", shown.stdout)
    assert found
    return [int(width) for width in found[1].split(",") if width], int(found[2])
