"""Summary of a run, as a table on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from pixelcnn_lit.messages import duration


def summary_table(
    run_dir: Path,
    metrics: dict[str, float],
    *,
    num_parameters: int,
    first_step: int,
    last_step: int,
    seconds: float,
    images_per_second: float | None,
    has_likelihood: bool,
) -> Table:
    """Numbers, where things are, and what to type next.

    Args:
        run_dir: the run folder.
        metrics: ``test/bits_per_dim`` and so on, as far as they were measured.
        num_parameters: trainable numbers in the model.
        first_step: optimizer steps in the checkpoint that the run went on from.
        last_step: optimizer steps at its end.
        seconds: training time from the first to the last, validations and pictures included.
        images_per_second: in training, over all processes.
        has_likelihood: whether images can be drawn and bits/dim measured; not from the baseline
            that is trained on the squared error.
    """
    run = escape(str(run_dir))
    table = Table(show_header=False, title=f"[bold]{run}[/bold]", title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for stage in ("test", "val"):
        for metric, unit in {"bits_per_dim": "bits/dim", "mse": "squared error"}.items():
            if f"{stage}/{metric}" in metrics:
                table.add_row(f"{stage} {unit}", f"{metrics[f'{stage}/{metric}']:.4f}")
    table.add_row("parameters", f"{num_parameters:,}")
    speed = f", {images_per_second:,.0f} images/s" if images_per_second else ""
    resumed = f", after {first_step:,} before" if first_step else ""
    steps = f"{last_step - first_step:,} steps in {duration(seconds)}{resumed}"
    table.add_row("training", f"{steps}{speed}")
    table.add_section()
    for name, file in [
        ("weights", "checkpoints/best.ckpt"),
        ("latest weights", "checkpoints/last.ckpt"),
        ("numbers", "metrics.csv"),
        ("curve", "nll_curve.png"),
        ("curve", "mse_curve.png"),
        ("samples", _newest(run_dir / "samples")),
        ("reconstructions", _newest(run_dir / "reconstructions")),
        ("configuration", "config.yaml"),
    ]:
        if file and (run_dir / file).exists():
            table.add_row(name, f"{run}/{file}")
    table.add_section()
    if has_likelihood:
        table.add_row("draw images", f"make sample RUN={run}")
        table.add_row("measure", f"make evaluate RUN={run}")
    else:
        table.add_row(
            "compare",
            f"pixelcnn-lit reconstruct baseline={run} autoencoder=RUN",
        )
    table.add_row("train on", f"make train … ARGS='run_dir={run} resume=auto trainer.max_epochs=N'")
    return table


def _newest(folder: Path) -> str | None:
    pictures = sorted(folder.glob("epoch=*.png"))
    return f"{folder.name}/{pictures[-1].name}" if pictures else None
