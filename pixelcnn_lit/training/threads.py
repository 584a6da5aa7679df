"""Threads of a training on the CPU: as many as asked for, else as many as a few timed steps advise.

The threads of a step wait for each other at every operation, and keep their cores busy with it.
Where another process has taken one of two cores, two threads train 4 to 30 times slower than on a
quiet machine, and much slower than one thread does; the number of cores alone says nothing.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor
from torch.optim import Optimizer

from pixelcnn_lit.images import Batch
from pixelcnn_lit.messages import OptionError, one_line, say
from pixelcnn_lit.training.options import RunOptions
from pixelcnn_lit.training.parts import Parts

MOST = 1024
"""Threads that may be asked for; absurd numbers crash OpenMP."""
ENOUGH = 1.5
"""Seconds of timing after which no further round begins."""
LONG = 3.0
"""Seconds after which the first round is the only one."""
NUM_ROUNDS = 50
"""At most so many steps with each number."""
NEARLY = 1.03
"""So much slower still counts as equally fast: a busy machine punishes each further thread."""
WINDOW = 5.0
"""Seconds of steps that are looked at together: a short hold-up is nothing to report."""
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # what torch begins with


class Threads(Callback):
    """Holds a run to its number of threads, which every checkpoint keeps as ``threads``.

    One line, once, says when the steps have become three times slower than they were. Nothing is
    changed by itself: another number of threads rounds sums otherwise.

    Args:
        number: of this process.
        images_per_second: of its steps as they were timed; None for the fastest seen so far.
        watches: whether to say when the steps become slow.
    """

    def __init__(self, number: int, images_per_second: float | None, watches: bool) -> None:
        self.number = number
        self._fastest = images_per_second or 0.0
        self._watches = watches
        self._num_images, self._seconds, self._start = 0, 0.0, 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Sets the number once more: Lightning deals the cores to the processes that it starts."""
        torch.set_num_threads(self.number)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]
    ) -> None:
        """Keeps the number."""
        checkpoint["threads"] = self.number

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Starts the clock: what reading the data takes is not the threads' doing."""
        self._start = perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Compares the speed of the last seconds with what it was."""
        if not self._watches:
            return
        self._seconds += perf_counter() - self._start
        self._num_images += len(batch["image"])
        if self._seconds < WINDOW:
            return
        speed = self._num_images / self._seconds
        self._num_images, self._seconds = 0, 0.0
        self._fastest = max(self._fastest, speed)
        if speed < self._fastest / 3:
            self._watches = False
            say(
                f"training fell from {_speed(self._fastest)} to {_speed(speed)} images/s: other"
                f" work seems to keep the cores busy, where {self.number} threads wait for each"
                " other; stopped and started again with resume=auto threads=1 it does without"
            )


def settle_threads(options: RunOptions, parts: Parts, checkpoint: Path | None) -> int | None:
    """Sets the number of threads of this process, and keeps it in the checkpoints to come.

    The first of these that there is: ``threads`` of the command line; what the environment says
    (``OMP_NUM_THREADS``); the number in the checkpoint, if this machine has as many cores; the
    fastest in a few training steps of a copy of the model, which leave the model, its optimizer and
    all random states as they are. On a GPU, and where a run has several processes, only the first:
    there Lightning deals the cores to the processes.

    Args:
        options: of the run.
        parts: of the run, before it begins; data are prepared. The trainer is given a callback.
        checkpoint: that the run goes on from, if any.

    Returns:
        The number, or None where torch or Lightning is left to choose.

    Raises:
        OptionError: if there is no first batch to time.
    """
    trainer = parts.trainer
    on_cpu = trainer.strategy.root_device.type == "cpu" and trainer.world_size == 1
    recorded = _recorded_in(checkpoint) if checkpoint else None
    num_cores = usable_cores()
    images_per_second = None
    if options.threads != "auto":
        number = options.threads
    elif not on_cpu:
        return None
    elif any(name in os.environ for name in _VARIABLES):
        number = torch.get_num_threads()
    elif recorded is not None and recorded <= num_cores:
        number = recorded
    elif num_cores == 1:
        number = 1
    else:
        number, images_per_second = _choose(parts, num_cores)
    torch.set_num_threads(number)
    if on_cpu and recorded not in (None, number):
        say(
            f"threads: {number}; {checkpoint} was trained with {recorded}, so numbers may differ"
            " in their last digits"
        )
    # the first steps of a compiled network are slow, and none is as fast as those that were timed
    watches = on_cpu and number > 1 and not options.compile
    callbacks = cast(list[Callback], trainer.callbacks)  # type: ignore[attr-defined]
    callbacks.insert(0, Threads(number, images_per_second, watches))
    return number


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # on Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _recorded_in(checkpoint: Path) -> int | None:
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return content.get("threads")


def _choose(parts: Parts, num_cores: int) -> tuple[int, float]:
    """The number of threads, and images/s with it."""
    fewer = [2**power for power in range(num_cores.bit_length()) if 2**power < num_cores]
    with isolate_rng(include_cuda=False):
        try:
            batch = parts.data.first_batch()
        except OSError as error:
            raise OptionError(one_line(error)) from error
        seconds = _time(_steps_of_a_copy(parts, batch), [num_cores, *reversed(fewer)])
    fastest = min(seconds.values())
    number = min(number for number, took in seconds.items() if took <= NEARLY * fastest)
    speeds = {number: len(batch["image"]) / took for number, took in sorted(seconds.items())}
    others = [f"{_speed(speed)} with {n}" for n, speed in speeds.items() if n != number]
    why = "" if seconds[number] == fastest else "; busy machines slow fewer down less"
    say(f"threads: {number} ({', '.join([f'{_speed(speeds[number])} images/s', *others])}{why})")
    return number, speeds[number]


def _steps_of_a_copy(parts: Parts, batch: Batch) -> Callable[[], None]:
    """A function that trains a copy of the model by one step: forward, backward, optimizer."""
    precision = parts.trainer.precision_plugin
    model = cast(LightningModule, precision.convert_module(copy.deepcopy(parts.model))).train()
    model.trainer = Trainer(accelerator="cpu", devices=1, barebones=True)  # which logs nothing
    configured = model.configure_optimizers()
    made = configured["optimizer"] if isinstance(configured, dict) else configured
    optimizer = cast(Optimizer, made)
    batch = cast(Batch, precision.convert_input(batch))

    def step() -> None:
        with warnings.catch_warnings(), precision.train_step_context():
            warnings.filterwarnings("ignore", message="You are trying to `self.log")
            loss = cast(Tensor, model.training_step(batch, 0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _time(step: Callable[[], None], candidates: Sequence[int]) -> dict[int, float]:
    """Seconds of a step by number of threads.

    A step with each, round after round, so that other work on the machine meets all of them.

    Args:
        step: what is timed.
        candidates: numbers of threads, the largest first. Where a step takes long, those after one
            that is slower than a larger one are left out.
    """
    torch.set_num_threads(candidates[0])
    step()  # the first takes up to ten times as long: memory is allotted, primitives are made
    seconds: dict[int, list[float]] = {}
    start = now = perf_counter()
    for place in range(NUM_ROUNDS):
        for number in list(seconds) or candidates:
            torch.set_num_threads(number)
            before = perf_counter()
            step()
            now = perf_counter()
            seconds.setdefault(number, []).append(now - before)
            is_slower = now - before > min(times[0] for times in seconds.values())
            if not place and is_slower and now - start > ENOUGH:
                break
        if now - start > (ENOUGH if place else LONG):
            break
    return {number: _typical(times) for number, times in seconds.items()}


def _typical(seconds: Sequence[float]) -> float:
    """The mean without the first, if others follow, and without the slowest of three or more.

    No median: steps that are slow now and then, as other work comes and goes, cost time, too.

    >>> _typical([9.0]), _typical([9.0, 2.0]), _typical([9.0, 2.0, 4.0, 60.0])
    (9.0, 2.0, 3.0)
    """
    later = sorted(seconds[1:] or seconds)
    kept = later[:-1] if len(later) > 2 else later
    return sum(kept) / len(kept)


def _speed(images_per_second: float) -> str:
    """Images per second, as many digits as matter.

    >>> _speed(1234.5), _speed(52.3), _speed(0.1234)
    ('1,234', '52', '0.12')
    """
    return f"{images_per_second:,.0f}" if images_per_second >= 10 else f"{images_per_second:.2g}"
