"""Draws images: `python -m pixelcnn_lit.sample checkpoint=RUN labels=[bee,cactus] seed=1`.

conf/sample.yaml lists what can be asked for; a plan says what to draw, `draw` draws it batch by
batch, `write` makes the files of what is finished, also after Ctrl-C.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from omegaconf import DictConfig
from rich import get_console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from pixelcnn_lit import configuration, plans
from pixelcnn_lit.data.source import Split
from pixelcnn_lit.given import read_given
from pixelcnn_lit.images import Batch, image_grid
from pixelcnn_lit.models import AbstractLitModel, load_model
from pixelcnn_lit.pictures import (
    AnimationFormat,
    appearing,
    read_pictures,
    write_animation,
    write_picture,
)
from pixelcnn_lit.plans import Plan
from pixelcnn_lit.run_data import build_data, first_examples
from pixelcnn_lit.sampling import draw_seeds
from pixelcnn_lit.summary import duration

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


@dataclass(frozen=True)
class SampleOptions:
    """The options of conf/sample.yaml, which explains them."""

    checkpoint: str
    output: str
    num_images: int | None
    labels: list[str | int] | str | int | None
    temperature: float
    guidance: float
    seed: int
    given: str | None
    num_completions: int
    images: str | None
    split: Split
    interpolate: list[str | int] | None
    steps: int
    individual: bool
    npy: bool
    animation: AnimationFormat | None
    pixels_per_frame: int | None
    batch_size: int | None
    device: Literal["cpu", "gpu"]


def sample(config: DictConfig) -> None:
    """Draws what is asked for and writes it.

    Raises:
        ValueError: naming the option that cannot be met, before anything is drawn.
    """
    options = configuration.read_options(SampleOptions, config)
    _check(options)
    model = load_model(options.checkpoint).to(torch_device(options.device))
    plan = make_plan(model, options, config)
    output = _folder(Path(options.output))
    start = time.perf_counter()
    rounds, finished = draw(model, plan, options)
    seconds = time.perf_counter() - start
    number = sum(len(images) for images in rounds)
    state = "" if finished else ", interrupted"
    print(f"{number} images in {duration(seconds)}{state}")
    if number:
        write(output, rounds, plan, model.likelihood.num_levels, options)
    if not finished:
        sys.exit(INTERRUPTED)


def make_plan(model: AbstractLitModel, options: SampleOptions, config: DictConfig) -> Plan:
    """What the options ask for.

    Raises:
        ValueError: naming the option that does not fit the model.
    """

    def examples(number: int) -> Batch:
        if options.images is None:
            return first_examples(build_data(config, model), options.split, number)
        folder = Path(options.images)
        images = read_pictures(folder, model.image_shape, model.likelihood.num_levels)
        return {"image": images[:number]}

    if options.given is not None:
        given = read_given(options.given, model.image_size)
        number = options.num_images or 8
        labels = _listed(options.labels)
        return plans.completion(model, number, labels, examples, given, options.num_completions)
    if options.interpolate is not None:
        number, ends = options.num_images or 4, options.interpolate
        return plans.interpolation(model, number, ends, examples, options.steps)
    return plans.plain(model, options.num_images or 64, _listed(options.labels), examples)


def draw(model: AbstractLitModel, plan: Plan, options: SampleOptions) -> tuple[list[Tensor], bool]:
    """The plan's rounds, each uint8 levels (N, C, H, W), and whether all are finished.

    All rounds are one request. Ctrl-C keeps the rounds that are finished; of a first one its
    finished batches.
    """
    number, num_rounds = plan.num_images, len(plan.conds)
    generator = torch.Generator().manual_seed(options.seed)
    seeds = (
        draw_seeds(number, generator) * num_rounds
        if plan.same_noise
        else draw_seeds(number * num_rounds, generator)
    )
    conds = [cond for cond in plan.conds if cond is not None]
    batches: list[Tensor] = []
    finished = True
    try:
        with _progress(len(seeds) * model.image_size[0]) as advance:
            for batch in model.sample_batches(
                len(seeds),
                torch.cat(conds) if conds else None,
                temperature=options.temperature,
                guidance=options.guidance,
                given=plan.given,
                images=None if plan.images is None else plan.images.repeat(num_rounds, 1, 1, 1),
                seeds=seeds,
                batch_size=options.batch_size,
                on_row=lambda images, row: advance(len(images)),
            ):
                batches.append(batch.cpu())
    except KeyboardInterrupt:
        finished = False
    rounds = list(torch.cat(batches).split(number)) if batches else []
    if len(rounds) > 1 and len(rounds[-1]) < number:
        rounds.pop()
    return rounds, finished


def write(
    output: Path, rounds: list[Tensor], plan: Plan, num_levels: int, options: SampleOptions
) -> None:
    """Write what is asked for, and say where it is."""
    tiles, drawn, num_columns = lay_out(plan, rounds)
    files = [output / "samples.png"]
    write_picture(files[0], image_grid(tiles, num_levels, num_columns=num_columns))
    if options.animation:
        files.append(output / f"samples.{options.animation}")
        frames = appearing(
            tiles,
            drawn,
            plan.given,
            num_levels,
            num_columns=num_columns,
            pixels_per_frame=options.pixels_per_frame or tiles.shape[-1],
        )
        write_animation(files[-1], frames)
    if options.npy:
        files.append(output / "samples.npy")
        np.save(files[-1], tiles[drawn].numpy())
    if options.individual:
        folder = _folder(output / "images")
        for number, image in enumerate(tiles[drawn]):
            files.append(folder / f"{number:05d}.png")
            tile = image_grid(image[None], num_levels, num_columns=1, padding=0)
            write_picture(files[-1], tile, min_width=1)
    print(*(file for file in files if file.parent == output), sep="\n")
    if options.individual:
        print(f"{output / 'images'}: {len(tiles[drawn])} pictures")


def lay_out(plan: Plan, rounds: list[Tensor]) -> tuple[Tensor, Tensor, int]:
    """The tiles of the picture, row by row; which of them were drawn; and how many a row has."""
    if not plan.beside and len(plan.conds) == 1:
        [images] = rounds
        return images, torch.ones(len(images), dtype=torch.bool), plan.num_columns
    columns = [*(column[: len(rounds[0])] for column in plan.beside), *rounds]
    tiles = rearrange(torch.stack(columns), "column row ... -> (row column) ...")
    drawn = torch.arange(len(tiles)) % len(columns) >= len(plan.beside)
    return tiles, drawn, len(columns)


def torch_device(name: Literal["cpu", "gpu"]) -> torch.device:
    """Where to compute.

    Raises:
        ValueError: if there is no GPU.
    """
    if name == "gpu" and not torch.cuda.is_available():
        raise ValueError("device=gpu: there is none; device=cpu")
    return torch.device("cuda" if name == "gpu" else "cpu")


def _check(options: SampleOptions) -> None:
    least = {"num_images": 1, "num_completions": 1, "steps": 2, "seed": 0}
    for name, smallest in {**least, "pixels_per_frame": 1, "batch_size": 1}.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            raise ValueError(f"{name}={value}: at least {smallest}")
    if not 0 < options.temperature < math.inf:
        raise ValueError(f"temperature={options.temperature}: above 0")
    if not 0 <= options.guidance < math.inf:
        raise ValueError(f"guidance={options.guidance}: at least 0")
    if options.given is not None and options.interpolate is not None:
        raise ValueError(f"interpolate={options.interpolate}: not together with given")
    if options.interpolate is not None and options.labels is not None:
        raise ValueError(f"labels={options.labels}: not together with interpolate")


def _listed(value: list[str | int] | str | int | None) -> list[str | int] | None:
    """A list, also of what was given alone."""
    return [value] if isinstance(value, str | int) else value


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output={path}: cannot be written ({error.strerror})") from error
    return path


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar over the rows of all images; gives a function to advance it."""
    columns = (TextColumn("Drawing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not get_console().is_terminal) as progress:
        task = progress.add_task("Drawing", total=total)
        yield lambda number: progress.advance(task, number)


if __name__ == "__main__":
    configuration.run(sample, "sample", SampleOptions)
