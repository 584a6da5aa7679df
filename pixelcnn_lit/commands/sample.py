"""Draw images: new ones, completions of given ones, the way from one class to another.

Examples:
    pixelcnn-lit sample checkpoint=runs/pp-digits/… task.labels=[3,5] temperature=0.9 seed=1
    pixelcnn-lit sample checkpoint=runs/pp-digits/… task=complete task.given=top:4
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import cast

from omegaconf import DictConfig

from pixelcnn_lit import configuration
from pixelcnn_lit.configuration.run_data import build_data, folder_of
from pixelcnn_lit.drawing.options import SampleOptions
from pixelcnn_lit.drawing.output_folder import make_new_folder, writing_to
from pixelcnn_lit.drawing.pictures import read_pictures
from pixelcnn_lit.drawing.plans import AbstractPlan
from pixelcnn_lit.drawing.rounds import Rounds, check_drawable, draw
from pixelcnn_lit.drawing.sheet import lay_out, write
from pixelcnn_lit.images import Batch
from pixelcnn_lit.messages import OptionError, duration
from pixelcnn_lit.models import AbstractLitModel, load_model
from pixelcnn_lit.models.loading import torch_device


def sample(config: DictConfig) -> None:
    """Draws what the task asks for, and writes what is finished, also after Ctrl-C.

    Raises:
        OptionError: naming the option that cannot be met, before anything is drawn.
    """
    options = configuration.read_options(SampleOptions, config)
    plan = cast(AbstractPlan, configuration.build(config, "task"))
    model = load_model(options.checkpoint).to(torch_device(options.device))
    check_drawable(model, options.temperature, options.guidance)
    rounds = _make_rounds(plan, model, config)
    if options.guidance != 1 and rounds.conds[0] is None:
        raise OptionError(f"guidance={options.guidance}: pictures have no labels to follow")
    # to the microsecond: a loop in a shell starts several commands within a second
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    folder = Path(options.output or folder_of(options.checkpoint) / "samples" / name)
    make_new_folder(folder)
    start = time.perf_counter()
    try:
        drawn, finished = draw(model, rounds, options)
    except BaseException:
        folder.rmdir()
        raise
    seconds = time.perf_counter() - start
    state = "" if finished else ", interrupted"
    print(f"{sum(map(len, drawn))} images in {duration(seconds)}{state}")
    if drawn:
        with writing_to(folder):
            sheet = lay_out(rounds, drawn, model.likelihood.num_levels)
            for path in write(folder, sheet, options):
                print(path)
    else:
        folder.rmdir()
    if not finished:
        sys.exit(configuration.INTERRUPTED)


def _make_rounds(plan: AbstractPlan, model: AbstractLitModel, config: DictConfig) -> Rounds:
    """What a plan draws with this model, with images of a folder or of the data if it needs any."""
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


COMMAND = configuration.Command(sample, SampleOptions, __doc__)
