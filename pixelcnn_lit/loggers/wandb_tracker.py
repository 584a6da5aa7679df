"""Weights & Biases logger that can neither block training nor fail it."""

from __future__ import annotations

import os
import re
import secrets
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

import wandb
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from torch import Tensor
from wandb.sdk.wandb_run import Run

from pixelcnn_lit.files import written_whole
from pixelcnn_lit.loggers.wandb_mode import Mode, choose_mode
from pixelcnn_lit.messages import OptionError, one_line, say


class WandbTracker(Logger):
    """A Weights & Biases run that can neither block training nor fail it.

    WANDB_MODE decides if it is set; else the run is online when someone is logged in, else
    offline, to be sent with `wandb sync`. Whatever goes wrong later is said in one line and ends
    the tracking, not the training: everything is on disk first, so a server that is lost in
    mid-run costs at most ``upload_timeout`` and ``finish_timeout`` at the end, and `wandb sync`
    sends the rest. Lightning's WandbLogger raises or waits for ever instead, hence this one. A
    resumed run continues the same W&B run: its id lies in ``run_dir/wandb_run_id``.

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
        upload_timeout: seconds that the best checkpoint may take.
        finish_timeout: seconds to wait at the end until everything else has been sent.
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
        upload_timeout: float = 600.0,
        finish_timeout: float = 60.0,
    ) -> None:
        for option, seconds in [
            ("init_timeout", init_timeout),
            ("upload_timeout", upload_timeout),
            ("finish_timeout", finish_timeout),
        ]:
            if seconds <= 0:
                raise OptionError(f"logger.wandb.{option}={seconds}: must be above 0 seconds")
        super().__init__()
        self.run_dir = Path(run_dir)
        self.project = project
        self.upload_best = upload_best
        self.upload_timeout = upload_timeout
        self.mode: Mode = "disabled"
        self._init = partial(
            wandb.init,
            dir=run_dir,
            resume="allow",
            project=project,
            entity=entity,
            name=name,
            group=group,
            tags=list(tags or []),
            notes=notes,
            settings=wandb.Settings(
                init_timeout=init_timeout,
                finish_timeout=finish_timeout,
                finish_timeout_raises=True,
                silent=True,
            ),
        )
        self._run: Run | None = None
        self._begun = False
        self._complaints = _Complaints()

    @property
    def name(self) -> str:
        """The project."""
        return self.project

    @property
    def version(self) -> str:
        """Empty: Lightning would show it in the progress bar."""
        return ""

    @property
    def experiment(self) -> Run | None:
        """The W&B run, begun at the first call of the first process; None if there is none."""
        if not self._begun:
            self._begun = True
            self._run = self._begin()
        return self._run

    def log_hyperparams(self, params: dict[str, object] | Namespace) -> None:
        """Does nothing: ``log_config`` stores the whole configuration, this is part of it."""

    @rank_zero_only
    def log_config(self, config: dict[str, object]) -> None:
        """Stores the whole configuration with the run."""
        self._guard(lambda run: run.config.update(config, allow_val_change=True))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Logs numbers against ``trainer/global_step``."""
        self._guard(lambda run: run.log({**metrics, "trainer/global_step": step}))

    @rank_zero_only
    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Logs ``picture``, uint8 (height, width, 3), on the CPU."""
        pixels = picture.numpy()  # W&B writes them into the system's temporary folder
        self._guard(lambda run: run.log({name: wandb.Image(pixels), "trainer/global_step": step}))

    @rank_zero_only
    def upload_checkpoint(self, path: Path) -> None:
        """Stores a checkpoint as an artifact, when online; a failure is said by ``close``."""
        run = self.experiment
        if run is None or self.mode != "online" or not self.upload_best or not path.exists():
            return
        try:
            artifact = wandb.Artifact(f"model-{run.id}", type="model")
            # it is not written again before it is sent, so no copy is needed
            artifact.add_file(str(path), policy="immutable", skip_cache=True)
            sent = run.log_artifact(artifact, aliases=["best", "latest"])
            sent.wait(timeout=max(1, round(self.upload_timeout)))
        except Exception as error:
            self._complaints.warning(f"{path.name} was not uploaded ({one_line(error)})")

    @rank_zero_only
    def close(self, finished: bool) -> None:
        """Ends the run, as a failure unless ``finished``; says what was not sent, and how to."""
        run, self._run = self._run, None
        if run is None:
            return
        folder = Path(run.dir).parent
        try:
            run.finish(exit_code=0 if finished else 1)
        except Exception as error:
            self._complaints.error(one_line(error))
        notes = self._complaints.each_once()
        if self.mode == "offline":
            notes.append(f"kept offline; send it with `wandb sync {folder}`")
        elif notes:
            notes.append(f"`wandb sync --include-online {folder}` sends what is missing")
        if notes:
            say(f"W&B: {'; '.join(notes)}")

    @rank_zero_only
    def _begin(self) -> Run | None:
        self.mode = choose_mode()
        if self.mode == "disabled":
            return None
        if self.mode == "online":
            try:
                run = self._begin_in_mode()
            except Exception as error:  # whatever W&B raises, training goes on
                say(f"W&B: cannot be reached, going on offline ({one_line(error)})")
                wandb.teardown()  # its service still holds the id of the run
                self.mode = "offline"
            else:
                say(f"W&B: {run.url}")
                return run
        try:
            return self._begin_in_mode()
        except Exception as error:
            say(f"W&B: no tracking, {one_line(error)}")
            return None

    def _begin_in_mode(self) -> Run:
        self.run_dir.joinpath("wandb").mkdir(parents=True, exist_ok=True)
        self._complaints.listen()
        run = self._init(mode=self.mode, id=run_id(self.run_dir))
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return run

    def _guard(self, call: Callable[[Run], object]) -> None:
        if (run := self.experiment) is None:
            return
        try:
            call(run)
        except Exception as error:
            say(f"W&B: tracking ends here, {one_line(error)}")
            self._run = None


class _Complaints:
    """What W&B's client would write on the terminal, kept until it can be said in one line."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def listen(self) -> None:
        settings = wandb.Settings(silent=True)
        wandb.setup(settings)
        wandb.termsetup(settings, self)

    def info(self, msg: str) -> None:
        """Is of no interest."""

    def warning(self, msg: str) -> None:
        """Keeps ``msg``, without what the client puts before each of its lines."""
        lines = re.sub(r"^wandb: (WARNING |ERROR )?", "", msg, flags=re.MULTILINE)
        self._messages.append(" ".join(lines.split()).rstrip("."))

    error = warning

    def each_once(self) -> list[str]:
        return list(dict.fromkeys(self._messages))


def report_invalid_trial(message: str) -> None:
    """Tells a sweep's server that the options of this trial do not go together.

    A trial that ended without a word would look crashed. Does nothing outside of a sweep.

    Args:
        message: what is wrong, kept in the summary as ``invalid``; the run is tagged so, too.
    """
    if "WANDB_SWEEP_ID" not in os.environ:
        return
    _Complaints().listen()
    try:
        # mode and folder are said here because W&B itself reads them only once per process
        folder = os.environ.get("WANDB_DIR", str(Path.cwd()))
        settings = wandb.Settings(silent=True, init_timeout=20, finish_timeout=20)
        run = wandb.init(mode=choose_mode(), dir=folder, tags=["invalid"], settings=settings)
        run.summary["invalid"] = message
        run.finish(exit_code=0)
    except Exception as error:  # as everywhere here: it is said and goes no further
        say(f"W&B: not told, {one_line(error)}")


def run_id(run_dir: Path) -> str:
    """The W&B run that belongs to a run folder: the same after a resume or a requeue.

    A sweep's agent gives the run of a trial in WANDB_RUN_ID. Several runs of one SLURM job differ.

    Raises:
        OSError: if the folder cannot be written.
    """
    file = run_dir / "wandb_run_id"
    if not file.exists():
        job = os.environ.get("SLURM_JOB_ID")
        anew = f"slurm-{job}-{secrets.token_hex(4)}" if job else secrets.token_hex(4)
        with written_whole(file) as unfinished:
            unfinished.write_text(os.environ.get("WANDB_RUN_ID", anew))
    return file.read_text()
