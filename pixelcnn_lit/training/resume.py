"""Resume: may this run go on from that checkpoint?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from lightning import Trainer
from lightning.pytorch.callbacks import WeightAveraging

from pixelcnn_lit.checkpoints import newest_checkpoint, read_checkpoint
from pixelcnn_lit.messages import OptionError, say
from pixelcnn_lit.training.slurm import is_requeued

CHANGEABLE = frozenset({"dropout", "label_dropout", "data_init"})
"""Options of a model that a resumed run may change: they change neither weights nor function."""


def find_start(
    resume: str | None, run_dir: Path, model_options: Mapping[str, object], trainer: Trainer
) -> tuple[Path | None, int]:
    """The checkpoint that ``resume`` asks for, if this run may go on from it.

    Args:
        resume: null, "auto" or the path of a checkpoint; a requeued job that has checkpoints of
            its own goes on from these.
        run_dir: the run folder, where "auto" looks.
        model_options: of the model that is to be trained, as it saves them.
        trainer: of the run, with its callbacks.

    Returns:
        The checkpoint, None for a new run, and the optimizer steps in it.

    Raises:
        OptionError: if a new run is asked for in the folder of an old one; if the checkpoint cannot
            be read, is of another model or of a run that averages its weights where this one does
            not; or if another run's leaves nothing to train.
    """
    if resume is None and not trainer.is_global_zero:
        return None, 0  # the first process has looked, and may have opened the folder since
    checkpoint = _asked_for(resume, run_dir)
    if checkpoint is None:
        return None, 0
    content = read_checkpoint(checkpoint) or {}
    step = content.get("global_step")
    if not isinstance(step, int):
        raise OptionError(
            f"resume={resume}: not a readable checkpoint; null, auto or the path of one"
        )
    folders = {run_dir.resolve(), (run_dir / "checkpoints").resolve()}  # which may be a link
    is_own = not folders.isdisjoint(checkpoint.resolve().parents)
    if not (is_own or is_requeued()) and _holds_a_run(run_dir):
        raise OptionError(
            f"run_dir={run_dir}: holds a run already, which resume={resume} would overwrite;"
            " name another folder"
        )
    kept = cast("dict[str, object]", content.get("hyper_parameters", {}))
    check_same_options(checkpoint, kept, model_options)
    _check_averaging(checkpoint, content, trainer)
    if not is_own:  # a run that is done may be measured again
        _check_unfinished(checkpoint, content, trainer)
    return checkpoint, step


def _asked_for(resume: str | None, run_dir: Path) -> Path | None:
    if resume is None:
        if _holds_a_run(run_dir):
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
    return Path(resume)


def _holds_a_run(run_dir: Path) -> bool:
    return any(run_dir.glob("checkpoints/*.ckpt"))


def check_same_options(
    checkpoint: Path,
    kept: Mapping[str, object],
    configured: Mapping[str, object],
    node: str = "model",
) -> None:
    """Compares the options of the model in a checkpoint with those of the one to be trained.

    Args:
        checkpoint: where it lies.
        kept: the options in it: plain values by name, and mappings of these.
        configured: those of this run.
        node: what both are the options of.

    Raises:
        OptionError: naming the first that differs, and both its values.
    """
    if kept.keys() != configured.keys():
        only = ", ".join(sorted(map(str, kept.keys() ^ configured.keys()))) or "no options"
        raise OptionError(f"{node}: {checkpoint} is of another kind (one of them has {only})")
    for name, value in configured.items():
        before, option = kept[name], f"{node}.{name}"
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            check_same_options(checkpoint, before, value, option)
        elif name not in CHANGEABLE and _plain(before) != _plain(value):
            raise OptionError(
                f"{option}={value}: {checkpoint} was trained with {before}; a resumed run goes on"
                " with the same model"
            )


def _plain(value: object) -> object:
    """Tuples are lists: a checkpoint may hold either."""
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _check_averaging(checkpoint: Path, content: Mapping[str, object], trainer: Trainer) -> None:
    """Refuse to go on from averaged weights with the optimizer's state of the trained ones."""
    averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    if "current_model_state" in content and not averages:
        raise OptionError(
            f"callbacks.average: {checkpoint} is of a run that averages its weights; a resumed run"
            " goes on with it and cannot do without"
        )


def _check_unfinished(checkpoint: Path, content: Mapping[str, object], trainer: Trainer) -> None:
    """Refuse to go on from another run that has trained as long as it was asked for."""
    loop = cast("dict[str, dict]", content["loops"])["fit_loop"]
    num_epochs = loop["epoch_progress"]["current"]["ready"]
    if not loop["epoch_loop.batch_progress"]["is_last_batch"]:
        num_epochs -= 1
    for option, done, most in [
        ("max_epochs", num_epochs, trainer.max_epochs),
        ("max_steps", content["global_step"], trainer.max_steps),
    ]:
        if most is not None and 0 <= most <= done:
            raise OptionError(
                f"trainer.{option}={most}: nothing is left to train, {checkpoint} has {done}"
            )
