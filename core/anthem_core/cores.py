"""How many processor cores this process may use, which in a container are fewer than the machine has."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Number of cores for threads: those that the process may run on, and no more than its cgroup's quota of time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(CGROUP_ROOT, OWN_CGROUPS)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cgroup_quota(root: Path, own_cgroups: Path) -> float | None:
    """Processor time per time that the process and all groups above it may use, `min quota / period`; None: no limit.

    Reads `cpu.max` of version 2 and `cpu.cfs_quota_us` of version 1.
    """
    quotas = []
    for folder in _list_groups(root, own_cgroups):
        for read in (_read_version_2, _read_version_1):
            with suppress(OSError, ValueError, ZeroDivisionError):  # missing, or "max"
                quotas.append(read(folder))
    return min((quota for quota in quotas if quota > 0), default=None)


def _list_groups(root: Path, own_cgroups: Path) -> list[Path]:
    """Folders of the groups of this process and of those above; a container often sees its own group as the root."""
    try:
        lines = own_cgroups.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    groups = [root, root / "cpu"]
    for line in lines:  # hierarchy:controllers:path; version 2 has no controllers
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            base = root / "cpu" if controllers else root
            own = base / path.lstrip("/")
            groups += [own, *(folder for folder in own.parents if folder.is_relative_to(base))]
    return list(dict.fromkeys(groups))


def _read_version_2(folder: Path) -> float:
    quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    return int(quota) / int(period)


def _read_version_1(folder: Path) -> float:
    """Quota of a group; negative: no limit."""
    return int((folder / "cpu.cfs_quota_us").read_text()) / int((folder / "cpu.cfs_period_us").read_text())
