"""How far a run is, as a bar on a terminal."""

from __future__ import annotations

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

Figures = dict[str, int | str | float | dict[str, float]]


class ProgressBar(RichProgressBar):
    """Lightning's bar, with the figures of the training as of the last step that was logged.

    Reading figures waits for the device; Lightning's own bar does so after every step.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins without figures."""
        super().setup(trainer, pl_module, stage)
        self._figures: Figures = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Figures:
        """The figures beside the bar; a validation's at once."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not trainer.training or trainer.global_step % every == 0:
            self._figures = super().get_metrics(trainer, pl_module)
        return self._figures
