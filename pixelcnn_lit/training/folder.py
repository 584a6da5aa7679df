"""The folder of a run: its configuration, and the checkpoint to go on from."""

from __future__ import annotations

import importlib.metadata
import shlex
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit.checkpoints import global_step, newest_checkpoint
from pixelcnn_lit.messages import OptionError, say
from pixelcnn_lit.training.slurm import is_requeued


def checkpoint_to_resume(resume: str | None, run_dir: Path) -> Path | None:
    """The checkpoint that ``resume`` asks for; None for a new run.

    Args:
        resume: null, "auto" or the path of a checkpoint; a requeued job that has checkpoints of
            its own goes on from these.
        run_dir: where "auto" looks.

    Raises:
        OptionError: if a new run is asked for in the folder of an old one, or the checkpoint cannot
            be read.
    """
    if resume is None:
        if any(run_dir.glob("checkpoints/*.ckpt")):
            raise OptionError(
                f"run_dir={run_dir}: holds a run already; resume=auto continues it,"
                " a new run needs another folder"
            )
        return None
    if resume == "auto" or is_requeued():
        newest, damaged = newest_checkpoint(run_dir)
        for path in damaged:
            say(f"warning: {path} is damaged, going on without it")
        if newest is not None:
            say(f"resuming {newest}")
            return newest
        if resume == "auto":
            say(f"nothing to resume in {run_dir}, starting anew")
            return None
    checkpoint = Path(resume)
    if global_step(checkpoint) is None:
        raise OptionError(
            f"resume={resume}: not a readable checkpoint; null, auto or the path of one"
        )
    own = is_requeued() or is_within(checkpoint, run_dir)
    if not own and any(run_dir.glob("checkpoints/*.ckpt")):
        raise OptionError(
            f"run_dir={run_dir}: holds a run already, which resume={resume} would overwrite;"
            " name another folder"
        )
    return checkpoint


def is_within(checkpoint: Path, run_dir: Path) -> bool:
    """Whether a checkpoint is one of the run's own."""
    return run_dir.resolve() in checkpoint.resolve().parents


def open_run_dir(run_dir: Path, config: DictConfig) -> None:
    """Creates the folder and writes ``config.yaml``: all options, the command and the version.

    The commands and versions of earlier starts stay above them.

    Raises:
        OptionError: if the folder cannot be written.
    """
    command = shlex.join(["pixelcnn-lit", *sys.argv[1:]])
    header = f"# {command}\n# {code_version()}\n"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = run_dir / "config.yaml"
        before = file.read_text().splitlines(keepends=True) if file.exists() else []
        earlier = "".join(line for line in before if line.startswith("#"))
        file.write_text(earlier + header + OmegaConf.to_yaml(config, resolve=True))
    except OSError as error:
        raise OptionError(f"run_dir={run_dir}: cannot be written ({error.strerror})") from error


def code_version() -> str:
    """pixelcnn-lit 0.1.0, commit abc1234 (with uncommitted changes)."""
    version = f"pixelcnn-lit {importlib.metadata.version('pixelcnn-lit')}"
    git = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        described = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or not a clone
        return version
    changed = " with uncommitted changes" if described.endswith("+") else ""
    return f"{version}, commit {described.rstrip('+')}{changed}"
