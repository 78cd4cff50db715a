"""What this machine is and has: for reports, for `doctor`, and for commands that need an optional part."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

_CGROUP_ROOT, _CGROUP_MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
TRAIN_PARTS = ("torch", "onnx", "onnxscript", "safetensors")  # the modules that the 'train' extra brings
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
    """The cores that this process may keep busy: those it may run on, and no more than its container's CPU quota pays for.

    Of a quota of 1.5 cores it is 1. A second thread would use up the quota within each period and then stand still with the
    first one until the next period begins, in the middle of a frame.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(cores, quota_cores())))


def quota_cores(root: Path = _CGROUP_ROOT, membership: Path = _CGROUP_MEMBERSHIP) -> float:
    """How many cores' time the CPU quota of this process' container is (Linux control groups, version 1 or 2); inf without one.

    `root` is where the control groups are mounted, `membership` the file that names the groups of this process.
    """
    quotas = [math.inf]
    for group in _cpu_groups(root, membership):
        with contextlib.suppress(
            OSError, ValueError, ArithmeticError
        ):  # a group without a quota has no such file, or "max"
            quota, period = (group / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))
        with contextlib.suppress(OSError, ValueError, ArithmeticError):
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            quotas.append(int(quota) / int(period))
    return min(quota for quota in quotas if quota > 0)


def _cpu_groups(root: Path, membership: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, and of those around them, each of which can have a quota.

    A container often sees its own group as the root, while `membership` names it by its path on the host.
    """
    try:
        lines = membership.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mounted in (root / controllers, root / "cpu") if controllers else (root, root / "unified"):
            group = mounted / name.lstrip("/")
            yield group
            yield from (parent for parent in group.parents if parent.is_relative_to(mounted))


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = (line.partition(":") for line in path.read_text(errors="replace").splitlines())
    info: dict[str, str] = {}
    for key, _, value in lines:
        info.setdefault(key.strip(), value.strip())
    return info
