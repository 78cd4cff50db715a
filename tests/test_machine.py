from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from edgeleather.machine import quota_cores, usable_cores

V1, V2 = "3:cpu,cpuacct:{0}\n2:memory:/other\n", "0::{0}\n"


def quota(tmp_path, membership, files):
    (tmp_path / "membership").write_text(membership)
    for name, content in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(content)
    return quota_cores(tmp_path / "root", tmp_path / "membership")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        (V2.format("/"), {"cpu.max": "150000 100000\n"}, 1.5),
        (V2.format("/"), {"cpu.max": "max 100000\n"}, math.inf),
        (V2.format("/"), {}, math.inf),
        (V2.format("/a/b"), {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        (V2.format("/a/b"), {"a/b/cpu.max": "max 100000\n", "cpu.max": "50000 100000\n"}, 0.5),
        (V2.format("/docker/0123"), {"cpu.max": "300000 100000\n"}, 3.0),
        (V2.format("/a"), {"unified/a/cpu.max": "300000 100000\n"}, 3.0),
        (
            V1.format("/"),
            {"cpu,cpuacct/cpu.cfs_quota_us": "150000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            1.5,
        ),
        (V1.format("/"), {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        (V1.format("/docker/01"), {"cpu/cpu.cfs_quota_us": "75000\n", "cpu/cpu.cfs_period_us": "25000\n"}, 3.0),
        (V1.format("/a"), {"memory/cpu.max": "1 1\n", "other/cpu.max": "1 1\n"}, math.inf),
        (V2.format("/"), {"cpu.max": "nonsense\n"}, math.inf),
        (V2.format("/"), {"cpu.max": "1 0\n"}, math.inf),
        ("nonsense\n\n::\n", {}, math.inf),
    ],
)
def test_the_least_quota_of_the_groups_around_counts(tmp_path, membership, files, expected):
    assert quota(tmp_path, membership, files) == expected


def test_no_control_groups_is_no_quota(tmp_path):
    assert quota_cores(tmp_path, tmp_path / "absent") == math.inf


def test_at_least_one_core_and_at_most_those_it_may_run_on():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def cpu_group():
    """A new control group of the CPU controller, and the files and values of a quota of one core; None where it cannot be had."""
    name = f"edgeleather-{uuid.uuid4().hex[:8]}"
    for mounted, quota_file, value in (
        (Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", "100000"),
        (Path("/sys/fs/cgroup"), "cpu.max", "100000 100000"),
    ):
        group = mounted / name
        with contextlib.suppress(OSError):
            group.mkdir()
            if (group / quota_file).exists():
                (group / quota_file).write_text(value)
                return group
            group.rmdir()
    return None


def test_a_real_quota_is_seen():
    group = cpu_group()
    if group is None:
        pytest.skip("this system does not let us make a control group with a CPU quota")
    try:
        code = "import sys, os\nopen(sys.argv[1], 'w').write(str(os.getpid()))\n"
        code += "from edgeleather.machine import quota_cores, usable_cores\nprint(quota_cores(), usable_cores())"
        command = [sys.executable, "-c", code, group / "cgroup.procs"]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.stdout.split() == ["1.0", "1"], result.stderr
    finally:
        group.rmdir()
