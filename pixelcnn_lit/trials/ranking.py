"""The trials of a sweep as a ranked table and a picture."""

from __future__ import annotations

from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from pixelcnn_lit.trials.trial import Trial


def ranking(trials: list[Trial], metric: str) -> Table:
    """The best first; invalid and crashed trials last, each with what it said."""
    names = varied(trials)
    table = Table(title=f"{len(trials)} trials by {metric}", title_justify="left")
    for name in ("rank", metric, *names, "state", "seconds", "run"):
        table.add_column(name, overflow="fold")
    for rank, trial in enumerate(ranked(trials), start=1):
        best = "" if trial.best is None else f"{trial.best:.4f}"
        options = [escape(str(trial.options[name])) for name in names]
        state = f"{trial.state}: {escape(trial.message)}" if trial.message else trial.state
        where = escape(f"{trial.run_dir}{'' if best else '.log'}")
        table.add_row(
            str(rank) if best else "", best, *options, state, f"{trial.seconds:.0f}", where
        )
    return table


def ranked(trials: list[Trial]) -> list[Trial]:
    """Smallest value first; those without one last."""
    return sorted(trials, key=lambda trial: (trial.best is None, trial.best or 0.0, trial.number))


def varied(trials: list[Trial]) -> list[str]:
    """The options that are not the same in all trials."""
    names = list(trials[0].options) if trials else []
    tried = {name: {str(trial.options[name]) for trial in trials} for name in names}
    return [name for name in names if len(tried[name]) > 1] or names


def plot(trials: list[Trial], metric: str) -> Figure:
    """Every option against the metric, and the metric over the trials that have a value."""
    trials = [trial for trial in trials if trial.best is not None]
    names = varied(trials)
    figure = Figure(figsize=(3.2 * (len(names) + 1), 3.2), layout="constrained")
    panels = figure.subplots(1, len(names) + 1, sharey=True, squeeze=False)[0]
    values = [trial.best for trial in trials]
    panels[0].plot([trial.number for trial in trials], values, "o")
    panels[0].set(xlabel="trial", ylabel=metric)
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    for panel, name in zip(panels[1:], names, strict=True):
        chosen = [trial.options[name] for trial in trials]
        numeric = all(isinstance(value, int | float) for value in chosen)
        panel.plot(chosen if numeric else [str(value) for value in chosen], values, "o", color="C1")
        panel.set_xlabel(name)
    for panel in panels:
        panel.grid(alpha=0.3)
    return figure
