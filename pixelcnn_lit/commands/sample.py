"""Draws images: `pixelcnn-lit sample checkpoint=RUN task.labels=[bee,cactus] seed=1`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, cast

from omegaconf import DictConfig

from pixelcnn_lit import configuration
from pixelcnn_lit.configuration.run_data import build_data, folder_of
from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.drawing.output_folder import make_new_folder, writing_to
from pixelcnn_lit.drawing.pictures import AnimationFormat, read_pictures
from pixelcnn_lit.drawing.plans import AbstractPlan
from pixelcnn_lit.drawing.rounds import Rounds, check_drawable, draw
from pixelcnn_lit.drawing.sheet import lay_out, write
from pixelcnn_lit.images import Batch
from pixelcnn_lit.messages import OptionError, check_at_least, duration
from pixelcnn_lit.models import AbstractLitModel, load_model
from pixelcnn_lit.models.loading import torch_device


@dataclass(frozen=True)
class SampleOptions:
    """What conf/sample.yaml has beside the task and the data.

    Args:
        checkpoint: a checkpoint, or a run folder: its best one, or the last if nothing was
            validated.
        output: folder for what is drawn, new or empty; None for a new one within the run, called
            ``samples/`` and the time.
        temperature: below 1 is sharper, 1 is the model itself.
        guidance: above 1 follows the condition more closely, 0 ignores it; for models trained with
            label_dropout.
        seed: the same seed gives the same images, from 0.
        split: of the data, where images are needed; None for test.
        images: folder of pictures to complete or to take codes from; None for images of the data.
        individual: also one PNG per image.
        npy: also the levels, (N, C, H, W).
        animation: also the pixels appearing.
        pixels_per_frame: of the animation; None for a row.
        batch_size: images drawn at a time; None for what fits into memory.
        device: where to compute.
    """

    checkpoint: str
    output: str | None
    temperature: float
    guidance: float
    seed: int
    split: Split | None
    images: str | None
    individual: bool
    npy: bool
    animation: AnimationFormat | None
    pixels_per_frame: int | None
    batch_size: int | None
    device: Literal["cpu", "gpu"]

    def __post_init__(self) -> None:
        for option, least in {"seed": 0, "pixels_per_frame": 1, "batch_size": 1}.items():
            check_at_least(option, getattr(self, option), least)
        if self.pixels_per_frame is not None and self.animation is None:
            raise OptionError(
                f"pixels_per_frame={self.pixels_per_frame}: only read together with animation"
            )


def sample(config: DictConfig) -> None:
    """Draws what the task asks for, and writes what is finished, also after Ctrl-C.

    Raises:
        OptionError: naming the option that cannot be met, before anything is drawn.
    """
    options = configuration.read_options(SampleOptions, config)
    plan = cast(AbstractPlan, configuration.build(config, "task"))
    model = load_model(options.checkpoint).to(torch_device(options.device))
    check_drawable(model, options.temperature, options.guidance)
    rounds = make_rounds(plan, model, config)
    if options.guidance != 1 and rounds.conds[0] is None:
        raise OptionError(f"guidance={options.guidance}: pictures have no labels to follow")
    folder = Path(options.output) if options.output else new_name(options.checkpoint)
    make_new_folder(folder)
    start = time.perf_counter()
    drawn, finished = draw(
        model,
        rounds,
        temperature=options.temperature,
        guidance=options.guidance,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    seconds = time.perf_counter() - start
    state = "" if finished else ", interrupted"
    print(f"{sum(map(len, drawn))} images in {duration(seconds)}{state}")
    if drawn:
        with writing_to(folder):
            for path in write(
                folder,
                lay_out(rounds, drawn, model.likelihood.num_levels),
                npy=options.npy,
                individual=options.individual,
                animation=options.animation,
                pixels_per_frame=options.pixels_per_frame,
            ):
                print(path)
    else:
        folder.rmdir()
    if not finished:
        sys.exit(configuration.INTERRUPTED)


def make_rounds(plan: AbstractPlan, model: AbstractLitModel, config: DictConfig) -> Rounds:
    """What a plan draws with this model, with images of a folder or of the data if it needs any.

    Raises:
        OptionError: naming an option that says where images come from and is not read.
    """
    folder, split = config.images, config.split
    sources = [name for name in ("images", "split", "data") if config.get(name) is not None]
    if folder is not None and len(sources) > 1:
        raise OptionError(f"{sources[1]}: not together with images={folder}, which is read instead")
    asked: list[int] = []

    def examples(number: int) -> Batch:
        asked.append(number)
        if folder is None:
            return build_data(config, model).first_examples(split or "test", number)
        levels = read_pictures(Path(folder), model.image_shape, model.likelihood.num_levels)
        return {"image": levels[:number]}

    rounds = plan.rounds(model, examples)
    if sources and not asked:
        raise OptionError(f"{sources[0]}: not read, as what is drawn needs no images")
    return rounds


def new_name(checkpoint: str) -> Path:
    """A folder that is not there yet, in the run of a checkpoint or beside it."""
    # to the microsecond: a loop in a shell starts several commands within a second
    return folder_of(checkpoint) / "samples" / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


COMMAND = configuration.Command(sample, SampleOptions, __doc__)
