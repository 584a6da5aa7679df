"""How much memory can still be had: what the machine has, within what the process may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch

UNKNOWN = 2**30
"""Bytes to count on where the system tells nothing, as on macOS and Windows."""

_GROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": (
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}
"""Of control groups, version 2 and 1: folder, limit, use, and what of it is dropped at need."""


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device."""
    if device.type != "cuda":
        return free_host_memory(Path("/"))
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + held


def free_host_memory(root: Path) -> int:
    """Bytes that this process can still have.

    On Linux what is available without swapping, or less where a control group (of SLURM, of a
    container) allows less; ``UNKNOWN`` where neither is told.

    Args:
        root: of the file system, ``/``.
    """
    return max(0, min([*_available(root), *_left_to_groups(root)], default=UNKNOWN))


def _available(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield 1024 * int(value.split()[0])


def _left_to_groups(root: Path) -> Iterator[int]:
    """What is left to the groups of this process, each of which lies within the one above."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers not in _GROUPS:
            continue
        folder, *files = _GROUPS[controllers]
        group = PurePosixPath(path)
        for inner in (group, *group.parents):
            yield from _left(root / folder / inner.relative_to("/"), *files)


def _left(group: Path, limit: str, used: str, cached: str) -> Iterator[int]:
    most, current = _lines(group / limit), _lines(group / used)
    if most and current and most[0] != "max":
        stat = dict(line.split() for line in _lines(group / "memory.stat"))
        yield int(most[0]) - int(current[0]) + int(stat.get(cached, 0))


def _lines(file: Path) -> list[str]:
    """The lines of a file; none where there is no such file or it must not be read."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
