"""Where the numbers of a run go: ``metrics.csv`` in its folder, and Weights & Biases."""

from __future__ import annotations

import csv
import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import wandb
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from torch import Tensor
from wandb.sdk.wandb_run import Run

Mode = Literal["online", "offline", "disabled"]


class MetricsFile(Logger):
    """All metrics as a table, one row per step and stage, written as they come.

    Numbers of one step arrive in several calls; they share a row. A new column rewrites the file
    once. A resumed run first drops the rows after its checkpoint, so that no step occurs twice.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._columns: list[str] = []
        self._row: dict[str, str] = {}
        if path.exists():
            with path.open(newline="") as file:
                self._columns = next(csv.reader(file), [])

    @property
    def name(self) -> str:
        """What Lightning calls the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """None are kept."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, object] | Namespace) -> None:
        """Does nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds ``metrics`` to the row of ``step``."""
        row = {name: _number(value) for name, value in metrics.items()}
        belongs = self._row.get("step") == str(step) and not any(
            name in self._row and self._row[name] != value for name, value in row.items()
        )
        if not belongs:
            self.save()
            self._row = {"step": str(step)}
        self._row |= row

    @rank_zero_only
    def save(self) -> None:
        """Writes the row begun, if any."""
        if not self._row:
            return
        missing = [name for name in self._row if name not in self._columns]
        if missing:
            rows = self._read()
            self._columns += missing
            self._write([*rows, self._row])
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(self._row)
        self._row = {}

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes what is left."""
        self.save()

    @rank_zero_only
    def keep_until(self, step: int) -> None:
        """Drops the rows after ``step`` optimizer steps, which a resumed run will write again."""
        if not self.path.exists():
            return
        rows = self._read()
        self._write(
            [
                row
                for row in rows
                if int(row["step"]) < step
                and not any(value for name, value in row.items() if name.startswith("test/"))
            ]
        )

    def _read(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            # a kill may have cut the last line short
            return [
                row
                for row in csv.DictReader(file)
                if row["step"].isdigit() and None not in row and None not in row.values()
            ]

    def _write(self, rows: list[dict[str, str]]) -> None:
        unfinished = self.path.with_suffix(".csv.part")
        with unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        unfinished.replace(self.path)


class WandbTracker(Logger):
    """A Weights & Biases run that can neither block training nor fail it.

    WANDB_MODE decides if it is set; else the run is online when someone is logged in, else
    offline, to be sent with `wandb sync`. Whatever goes wrong later is said in one line and ends
    the tracking, not the training. Lightning's WandbLogger raises instead, hence this one. A
    resumed run continues the same W&B run: its id lies in ``run_dir/wandb_run_id``; under SLURM it
    is the job's.

    Args:
        run_dir: the run folder; W&B's own files go into ``run_dir/wandb``.
        project: W&B project.
        entity: W&B user or team; None for the default.
        name: of the run.
        group: of runs that belong together.
        tags: to filter by.
        notes: free text.
        upload_best: store the best checkpoint as an artifact, when online.
        init_timeout: seconds to wait for the server before going on offline.
    """

    def __init__(
        self,
        run_dir: str,
        project: str = "pixelcnn-lit",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        upload_best: bool = True,
        init_timeout: float = 20.0,
    ) -> None:
        super().__init__()
        self.run_dir = Path(run_dir)
        self.project = project
        self.entity = entity
        self.run_name = name
        self.group = group
        self.tags = list(tags or [])
        self.notes = notes
        self.upload_best = upload_best
        self.init_timeout = init_timeout
        self.mode: Mode = "disabled"
        self._run: Run | None = None
        self._begun = False

    @property
    def name(self) -> str:
        """The project."""
        return self.project

    @property
    def version(self) -> str:
        """None: Lightning would show it in the progress bar."""
        return ""

    @property
    def experiment(self) -> Run | None:
        """The W&B run, begun at the first call of the first process; None if there is none."""
        self._begin_once()
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, object] | Namespace) -> None:
        """Does nothing: ``log_config`` stores the whole configuration, this is part of it."""

    @rank_zero_only
    def log_config(self, config: dict[str, object]) -> None:
        """Stores the whole configuration with the run."""
        if run := self.experiment:
            self._guard(lambda: run.config.update(config, allow_val_change=True))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Logs numbers against ``trainer/global_step``."""
        if run := self.experiment:
            self._guard(lambda: run.log({**metrics, "trainer/global_step": step}))

    @rank_zero_only
    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Logs ``picture``, uint8 (height, width, 3)."""
        if run := self.experiment:
            image = wandb.Image(picture.cpu().numpy())
            self._guard(lambda: run.log({name: image, "trainer/global_step": step}))

    @rank_zero_only
    def upload_checkpoint(self, path: Path) -> None:
        """Stores a checkpoint as an artifact, when online."""
        run = self.experiment
        if run is None or self.mode != "online" or not self.upload_best or not path.exists():
            return
        artifact = wandb.Artifact(f"model-{run.id}", type="model")
        self._guard(lambda: artifact.add_file(str(path)))
        self._guard(lambda: run.log_artifact(artifact, aliases=["best", "latest"]))

    @rank_zero_only
    def close(self, finished: bool) -> None:
        """Ends the run, as a failure unless ``finished``; says how to send an offline one."""
        run = self._run
        if run is None:
            return
        folder = Path(run.dir).parent
        self._guard(lambda: run.finish(exit_code=0 if finished else 1))
        self._run = None
        if self.mode == "offline":
            say(f"W&B: kept offline; send it with `wandb sync {folder}`")

    @rank_zero_only
    def _begin_once(self) -> None:
        if not self._begun:
            self._begun = True
            self._run = self._begin()

    def _begin(self) -> Run | None:
        self.mode = choose_mode()
        if self.mode == "disabled":
            return None
        if self.mode == "online":
            try:
                return self._init()
            except Exception as error:  # whatever W&B raises, training goes on
                say(f"W&B: cannot be reached, going on offline ({_one_line(error)})")
                wandb.teardown()  # its service still holds the id of the run
                self.mode = "offline"
        try:
            return self._init()
        except Exception as error:
            say(f"W&B: no tracking, {_one_line(error)}")
            return None

    def _init(self) -> Run:
        self.run_dir.joinpath("wandb").mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            dir=self.run_dir,
            mode=self.mode,
            id=run_id(self.run_dir),
            resume="allow",
            project=self.project,
            entity=self.entity,
            name=self.run_name,
            group=self.group,
            tags=self.tags,
            notes=self.notes,
            settings=wandb.Settings(init_timeout=self.init_timeout, silent=True),
        )
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return run

    def _guard(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            say(f"W&B: tracking ends here, {_one_line(error)}")
            self._run = None


def report_invalid_trial(message: str) -> None:
    """Tells a sweep's server that the options of this trial do not go together.

    A trial that ended without a word would look crashed. Does nothing outside of a sweep.

    Args:
        message: what is wrong, kept in the summary as ``invalid``; the run is tagged so, too.
    """
    if "WANDB_SWEEP_ID" not in os.environ:
        return
    try:
        # mode and folder are said here because W&B itself reads them only once per process
        folder = os.environ.get("WANDB_DIR", str(Path.cwd()))
        settings = wandb.Settings(silent=True)
        run = wandb.init(mode=choose_mode(), dir=folder, tags=["invalid"], settings=settings)
        run.summary["invalid"] = message
        run.finish(exit_code=0)
    except Exception as error:  # as everywhere here: it is said and goes no further
        say(f"W&B: not told, {_one_line(error)}")


def choose_mode() -> Mode:
    """WANDB_MODE if set; else online if logged in; else offline.

    Raises:
        ValueError: if WANDB_MODE is none of W&B's modes.
    """
    mode = os.environ.get("WANDB_MODE")
    match mode:
        case "online" | "offline" | "disabled":
            return mode
        case "dryrun":  # W&B's old names
            return "offline"
        case "run":
            return "online"
        case None | "":
            pass
        case _:
            raise ValueError(f"WANDB_MODE={mode}: must be online, offline or disabled")
    if wandb.login(prompt=False, verify=False):
        return "online"
    say("W&B: not logged in, kept offline (`wandb login`; WANDB_MODE=disabled for none)")
    return "offline"


def run_id(run_dir: Path) -> str:
    """The W&B run that belongs to a run folder: the same after a resume or a requeue.

    A sweep's agent gives the run of a trial in WANDB_RUN_ID.


    Raises:
        OSError: if the folder cannot be written.
    """
    file = run_dir / "wandb_run_id"
    if not file.exists():
        job = os.environ.get("SLURM_JOB_ID")
        anew = f"slurm-{job}" if job else secrets.token_hex(4)
        file.write_text(os.environ.get("WANDB_RUN_ID", anew))
    return file.read_text()


@rank_zero_only
def say(line: str) -> None:
    """One line for the user, from one process, on stderr."""
    print(line, file=sys.stderr, flush=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _number(value: float | Tensor) -> str:
    return f"{float(value):.10g}"
