"""Run folder: opened, with the configuration, the command and the version written down."""

from __future__ import annotations

import importlib.metadata
import shlex
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit.files import written_whole
from pixelcnn_lit.messages import OptionError


def open_run_dir(run_dir: Path, config: DictConfig) -> None:
    """Creates the folder and writes ``config.yaml``: all options, the command and the version.

    The commands and versions of earlier starts stay above them; what a kill left of a checkpoint
    is cleared away.

    Raises:
        OptionError: if the folder cannot be written.
    """
    command = shlex.join(["pixelcnn-lit", *sys.argv[1:]])
    header = f"# {command}\n# {code_version()}\n"
    try:
        file = run_dir / "config.yaml"
        before = file.read_text().splitlines(keepends=True) if file.exists() else []
        earlier = "".join(line for line in before if line.startswith("#"))
        with written_whole(file) as unfinished:
            unfinished.write_text(earlier + header + OmegaConf.to_yaml(config, resolve=True))
        for left in run_dir.glob("checkpoints/.*.ckpt.*"):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise OptionError(f"run_dir={run_dir}: cannot be written ({error.strerror})") from error


def code_version() -> str:
    """pixelcnn-lit 0.1.0, commit abc1234 (with uncommitted changes)."""
    version = f"pixelcnn-lit {importlib.metadata.version('pixelcnn-lit')}"
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # git would look further up, where others' clones may be
        return version
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        ran = subprocess.run(describe, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or no commit yet
        return version
    described = ran.stdout.strip()
    changed = " with uncommitted changes" if described.endswith("+") else ""
    return f"{version}, commit {described.rstrip('+')}{changed}"
