"""Signals (Ctrl-C, SIGTERM, SLURM's warning): finish the step, keep the state, stop."""

from __future__ import annotations

import os
import signal
from types import FrameType

import torch
from lightning import Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(BaseException):
    """A signal stopped training between two steps; ``last.ckpt`` holds the state.

    Not an Exception, so that no `except Exception` on the way mistakes it for a failure.
    """

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"{signal.Signals(signum).name} after step {step}")
        self.signum = signum


class Interruption:
    """Remembers a signal until the step is done: a state saved in mid-step would be half updated.

    A second Ctrl-C stops at once, and so does any signal while ``act_at_once`` holds. With several
    processes all learn of the signal after the same step, whichever of them got it.
    """

    def __init__(self) -> None:
        self._received = 0
        self._pid = os.getpid()
        self._saved_step: int | None = None
        self._at_warning = signal.SIG_IGN

    def listen(self) -> None:
        """Takes the signals over from Lightning, which acts on some of them in mid-step."""
        self._at_warning = signal.getsignal(signal.SIGUSR1)
        for signum in SIGNALS:
            signal.signal(signum, self._remember)

    def stop_listening(self) -> None:
        """Gives the signals their meaning before training again."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self._at_warning)

    def act_at_once(self, saved_step: int) -> None:
        """From now on a signal stops where it arrives: the state after ``saved_step`` is saved.

        Raises:
            Interrupted: if a signal has come already; the handler raises it later.
        """
        self._saved_step = saved_step
        if self._received:
            raise Interrupted(self._received, saved_step)

    def act_later(self) -> None:
        """Signals are remembered again."""
        self._saved_step = None

    def pending(self, trainer: Trainer) -> int:
        """The signal that any process has received, or 0; the same on every rank."""
        if trainer.world_size == 1:
            return self._received
        received = torch.tensor(self._received, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(received, reduce_op="max"))

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a worker inherits the handler; only its parent may act
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
            return
        if self._received == signal.SIGINT == signum:
            raise KeyboardInterrupt
        self._received = signum
        if (step := self._saved_step) is not None:
            self._saved_step = None  # once is enough
            raise Interrupted(signum, step)
