"""What this machine is and has: for reports, for `doctor`, and for commands that need an optional part."""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path

_INTEGER_DOT_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    for key in ("model name", "Model"):
        if value := _cpuinfo().get(key):
            return value
    return platform.processor() or platform.machine()


def integer_dot_instructions() -> tuple[str, ...]:
    """The processor's integer dot-product instructions, which INT8 engines gain most of their speed from."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return tuple(flag for flag in _INTEGER_DOT_FLAGS if flag in flags)


def saturates_integer_products() -> bool:
    """Whether this processor adds pairs of uint8 x int8 products in 16 bits, as x86 without integer dot products does."""
    return platform.machine().lower() in ("x86_64", "amd64", "i686") and not integer_dot_instructions()


def is_installed(module: str) -> bool:
    """Whether a module could be imported; it is not imported to find out."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = (line.partition(":") for line in path.read_text(errors="replace").splitlines())
    info: dict[str, str] = {}
    for key, _, value in lines:
        info.setdefault(key.strip(), value.strip())
    return info
