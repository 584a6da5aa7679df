"""Summary of a run, as a table on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from pixelcnn_lit.messages import duration, print_table
from pixelcnn_lit.models import AbstractLitModel
from pixelcnn_lit.training.parts import Parts


def print_summary(
    parts: Parts, run_dir: Path, metrics: dict[str, float], first_step: int, seconds: float
) -> None:
    """Numbers, where things are, and what to type next.

    Args:
        parts: of the run that has ended.
        run_dir: the run folder.
        metrics: ``test/bits_per_dim`` and so on, as far as they were measured.
        first_step: optimizer steps in the checkpoint that the run went on from.
        seconds: training time since then, validations and pictures included.
    """
    run = escape(str(run_dir))
    table = Table(show_header=False, title=f"[bold]{run}[/bold]", title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for stage in ("test", "val"):
        for metric, unit in {"bits_per_dim": "bits/dim", "mse": "squared error"}.items():
            if f"{stage}/{metric}" in metrics:
                table.add_row(f"{stage} {unit}", f"{metrics[f'{stage}/{metric}']:.4f}")
    num_parameters = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
    table.add_row("parameters", f"{num_parameters:,}")
    speed = parts.throughput.images_per_second if parts.throughput else 0
    at_speed = f", {speed:,.0f} images/s" if speed else ""
    num_steps = parts.trainer.fit_loop.epoch_loop.global_step - first_step
    resumed = f", after {first_step:,} before" if first_step else ""
    took = f"{num_steps:,} steps in {duration(seconds)}"
    table.add_row("training", f"{took}{resumed}{at_speed}")
    table.add_section()
    for name, pattern in [
        ("weights", "checkpoints/best.ckpt"),
        ("latest weights", "checkpoints/last.ckpt"),
        ("numbers", "metrics.csv"),
        ("curve", "nll_curve.png"),
        ("curve", "mse_curve.png"),
        ("samples", "samples/epoch=*.png"),
        ("reconstructions", "reconstructions/epoch=*.png"),
        ("configuration", "config.yaml"),
    ]:
        if found := sorted(run_dir.glob(pattern)):
            table.add_row(name, f"{run}/{found[-1].relative_to(run_dir)}")
    table.add_section()
    if isinstance(parts.model, AbstractLitModel):
        table.add_row("draw images", f"pixelcnn-lit sample checkpoint={run}")
        table.add_row("measure", f"pixelcnn-lit evaluate checkpoint={run}")
    else:
        table.add_row("compare", f"pixelcnn-lit reconstruct baseline={run} autoencoder=RUN")
    again = f"pixelcnn-lit train … run_dir={run} resume=auto trainer.max_epochs=N"
    table.add_row("train on", again)
    print_table(table)
