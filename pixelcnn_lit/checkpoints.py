"""Checkpoint files: written whole or not at all, and the newest sound one found again."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from pixelcnn_lit.files import written_whole


class AtomicCheckpointIO(TorchCheckpointIO):
    """A kill or a full disk leaves the old file.

    Lightning's own writer goes through the system's temporary folder, from where a move to another
    file system is a copy.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, object], path: _PATH, storage_options: object = None
    ) -> None:
        """Writes ``checkpoint`` to ``path``.

        Raises:
            OSError: if the file cannot be written; what was there before is untouched.
        """
        # given the path instead, torch would raise RuntimeError for a full disk
        with written_whole(Path(path)) as unfinished, unfinished.open("wb") as file:
            torch.save(checkpoint, file)


def newest_checkpoint(run_dir: Path) -> tuple[Path | None, list[Path]]:
    """The checkpoint of a run with the most steps that can be read.

    Args:
        run_dir: a run folder; ``checkpoints/*.ckpt`` and Lightning's ``hpc_ckpt_*.ckpt`` are
            looked at.

    Returns:
        The file, or None if there is none; and the files that were skipped because they are
        damaged.
    """
    paths = [*run_dir.glob("checkpoints/*.ckpt"), *run_dir.glob("hpc_ckpt_*.ckpt")]
    steps = {path: step for path in paths if (step := global_step(path)) is not None}
    # of several at the same step the one written last: best.ckpt comes before the epoch's end
    newest = max(steps, key=lambda path: (steps[path], path.stat().st_mtime), default=None)
    return newest, [path for path in paths if path not in steps]


def read_checkpoint(path: Path) -> dict[str, object] | None:
    """What a checkpoint holds, its tensors mapped from the file; None if damaged or none."""
    try:
        # testzip reads every byte against its checksum; torch.load alone overlooks a flipped bit
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, pickle.UnpicklingError):
        return None
    return content if isinstance(content, dict) else None


def global_step(path: Path) -> int | None:
    """The number of optimizer steps in a checkpoint; None if it is damaged or none."""
    step = (read_checkpoint(path) or {}).get("global_step")
    return step if isinstance(step, int) else None
