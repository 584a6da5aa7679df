"""Learning curve of a run, as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import matplotlib
from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from pixelcnn_lit.loggers.metrics_file import read_metric
from pixelcnn_lit.messages import check_at_least

matplotlib.use("agg")

CURVES = {
    "bits_per_dim": ("nll_curve.png", "bits/dim"),
    "mse": ("mse_curve.png", "mean squared error"),
}


class LearningCurve(Callback):
    """Draws ``nll_curve.png`` from ``metrics.csv``, so that a resumed run shows all of it.

    Args:
        every_n_epochs: how often.
        metric: what is drawn, without its stage; the file is ``mse_curve.png`` for "mse".
    """

    def __init__(
        self, every_n_epochs: int = 1, metric: Literal["bits_per_dim", "mse"] = "bits_per_dim"
    ) -> None:
        check_at_least("callbacks.curve.every_n_epochs", every_n_epochs, 1)
        self.every_n_epochs = every_n_epochs
        self.metric = metric

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Redraws at the end of every ``every_n_epochs``-th epoch."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the whole."""
        self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()
        folder = Path(trainer.default_root_dir)
        train = read_metric(folder / "metrics.csv", f"train/{self.metric}")
        val = read_metric(folder / "metrics.csv", f"val/{self.metric}")
        if train or val:
            file, unit = CURVES[self.metric]
            learning_curve(train, val, unit).savefig(folder / file, dpi=150)


def smooth(values: list[float]) -> list[float]:
    """The exponential average of a noisy curve, corrected for its start as Adam's moments are.

    It looks back over ten values, or less where the curve is short.
    """
    weight = min(0.9, max(0.0, 1 - 10 / max(len(values), 1)))
    average, smoothed = 0.0, []
    for count, value in enumerate(values, start=1):
        average = weight * average + (1 - weight) * value
        smoothed.append(average / (1 - weight**count))
    return smoothed


def learning_curve(train: dict[int, float], val: dict[int, float], unit: str) -> Figure:
    """Train and validation bits/dim, or another metric, over the steps.

    Args:
        train: of training batches by step; drawn faint, and smoothed on top.
        val: of validations by step; the best one is marked.
        unit: what the numbers are.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    train = dict(sorted(train.items()))
    if train:
        axes.plot(list(train), list(train.values()), color="C0", alpha=0.25, linewidth=0.8)
        axes.plot(list(train), smooth(list(train.values())), color="C0", label="train (smoothed)")
    if val:
        best = min(val, key=lambda step: val[step])
        marker = "o" if len(val) < 30 else None
        points = list(val), list(val.values())
        axes.plot(*points, color="C1", marker=marker, markersize=3, label="validation")
        axes.scatter([best], [val[best]], color="C1", edgecolor="black", zorder=3)
        below = {"xytext": (0, -14), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"{val[best]:.3f}", (best, val[best]), **below)
    # the first steps are far above everything that matters: leave them outside the frame
    settled = list(val.values()) + smooth(list(train.values()))[len(train) // 10 :]
    finite = [value for value in settled if math.isfinite(value)]
    if finite:
        margin = 0.1 * (max(finite) - min(finite)) or 0.1
        axes.set_ylim(min(finite) - 1.5 * margin, max(finite) + margin)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
