"""Draws images: `pixelcnn-lit sample checkpoint=RUN labels=[bee,cactus] seed=1`.

conf/sample.yaml lists what can be asked for; a plan says what to draw, `draw` draws it batch by
batch, `write` makes the files of what is finished, also after Ctrl-C.
"""

from __future__ import annotations

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

from pixelcnn_lit import configuration
from pixelcnn_lit.data.abstract import first_examples
from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.drawing import plans
from pixelcnn_lit.drawing.given_mask import read_given
from pixelcnn_lit.drawing.output_folder import (
    INDIVIDUAL,
    check_no_others,
    make_folder,
    replace_earlier,
    writing_to,
)
from pixelcnn_lit.drawing.pictures import (
    AnimationFormat,
    appearing,
    read_pictures,
    write_animation,
    write_picture,
)
from pixelcnn_lit.drawing.plans import Plan
from pixelcnn_lit.images import Batch, image_grid
from pixelcnn_lit.matching import build_data
from pixelcnn_lit.messages import OptionError, duration
from pixelcnn_lit.models import AbstractLitModel, load_model
from pixelcnn_lit.models.loading import torch_device
from pixelcnn_lit.sampling import check_strengths, draw_seeds

READ_WITH = {"num_completions": "given", "steps": "interpolate", "pixels_per_frame": "animation"}
"""Options that are read only together with another."""


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
    num_completions: int | None
    images: str | None
    split: Split | None
    interpolate: list[str | int] | None
    steps: int | None
    individual: bool
    npy: bool
    animation: AnimationFormat | None
    pixels_per_frame: int | None
    batch_size: int | None
    device: Literal["cpu", "gpu"]


def sample(config: DictConfig) -> None:
    """Draws what is asked for and writes it.

    Raises:
        OptionError: naming the option that cannot be met, before anything is drawn.
    """
    options = configuration.read_options(SampleOptions, config)
    _check(options, has_data=config.get("data") is not None)
    model = load_model(options.checkpoint).to(torch_device(options.device))
    plan = make_plan(model, options, config)
    output = Path(options.output)
    make_folder(output)
    check_no_others(output, file_names(options, plan.num_images * len(plan.conds)))
    if options.individual:
        make_folder(output / INDIVIDUAL)
    start = time.perf_counter()
    rounds, finished = draw(model, plan, options)
    seconds = time.perf_counter() - start
    number = sum(len(images) for images in rounds)
    state = "" if finished else ", interrupted"
    print(f"{number} images in {duration(seconds)}{state}")
    if number:
        with writing_to(output):
            write(output, rounds, plan, model.likelihood.num_levels, options)
    if not finished:
        sys.exit(configuration.INTERRUPTED)


def make_plan(model: AbstractLitModel, options: SampleOptions, config: DictConfig) -> Plan:
    """What the options ask for.

    Raises:
        OptionError: naming the option that does not fit the model, or that it does not read.
    """
    asked: list[int] = []

    def examples(number: int) -> Batch:
        asked.append(number)
        if options.images is None:
            return first_examples(build_data(config, model), options.split or "test", number)
        folder = Path(options.images)
        images = read_pictures(folder, model.image_shape, model.likelihood.num_levels)
        return {"image": images[:number]}

    plan = _plan(model, options, examples)
    if not asked:
        _check_no_source(options, has_data=config.get("data") is not None)
    return plan


def _plan(model: AbstractLitModel, options: SampleOptions, examples: plans.Examples) -> Plan:
    if options.given is not None:
        given = read_given(options.given, model.image_size)
        if given.all():
            raise OptionError(f"given={options.given}: keeps every pixel, nothing is left to draw")
        number = options.num_images or 8
        labels = _listed(options.labels)
        num_completions = options.num_completions or 4
        return plans.completion(model, number, labels, examples, given, num_completions)
    if options.interpolate is not None:
        number, ends = options.num_images or 4, options.interpolate
        return plans.interpolation(model, number, ends, examples, options.steps or 8)
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
            model.sample(
                len(seeds),
                torch.cat(conds) if conds else None,
                temperature=options.temperature,
                guidance=options.guidance,
                given=plan.given,
                images=None if plan.images is None else plan.images.repeat(num_rounds, 1, 1, 1),
                seeds=seeds,
                batch_size=options.batch_size,
                on_row=lambda images, row: advance(len(images)),
                on_batch=lambda batch: batches.append(batch.cpu()),
            )
    except KeyboardInterrupt:
        finished = False
    rounds = list(torch.cat(batches).split(number)) if batches else []
    if len(rounds) > 1 and len(rounds[-1]) < number:
        rounds.pop()
    return rounds, finished


def write(
    output: Path, rounds: list[Tensor], plan: Plan, num_levels: int, options: SampleOptions
) -> None:
    """Write what is asked for, what is worth most first, and say where it is.

    Raises:
        OSError: if a file cannot be written; those before it are whole.
    """
    tiles, drawn, num_columns = lay_out(plan, rounds)
    replace_earlier(output, file_names(options, int(drawn.sum())))
    if options.npy:
        np.save(output / "samples.npy", tiles[drawn].numpy())
        print(output / "samples.npy")
    if options.individual:
        for number, image in enumerate(tiles[drawn]):
            tile = image_grid(image[None], num_levels, num_columns=1, padding=0)
            write_picture(output / INDIVIDUAL / f"{number:05d}.png", tile, min_width=1)
        print(f"{output / INDIVIDUAL}: {len(tiles[drawn])} pictures")
    write_picture(output / "samples.png", image_grid(tiles, num_levels, num_columns=num_columns))
    print(output / "samples.png")
    if options.animation:
        frames = appearing(
            tiles,
            drawn,
            plan.given,
            num_levels,
            num_columns=num_columns,
            pixels_per_frame=options.pixels_per_frame or tiles.shape[-1],
        )
        write_animation(output / f"samples.{options.animation}", frames)
        print(output / f"samples.{options.animation}")


def file_names(options: SampleOptions, num_images: int) -> list[str]:
    """What is written into the folder, by name within it."""
    names = ["samples.png"]
    if options.npy:
        names.append("samples.npy")
    if options.animation:
        names.append(f"samples.{options.animation}")
    if options.individual:
        names.extend(f"{INDIVIDUAL}/{number:05d}.png" for number in range(num_images))
    return names


def lay_out(plan: Plan, rounds: list[Tensor]) -> tuple[Tensor, Tensor, int]:
    """The tiles of the picture, row by row; which of them were drawn; and how many a row has."""
    if not plan.beside and len(plan.conds) == 1:
        [images] = rounds
        return images, torch.ones(len(images), dtype=torch.bool), plan.num_columns
    columns = [*(column[: len(rounds[0])] for column in plan.beside), *rounds]
    tiles = rearrange(torch.stack(columns), "column row ... -> (row column) ...")
    drawn = torch.arange(len(tiles)) % len(columns) >= len(plan.beside)
    return tiles, drawn, len(columns)


def _check(options: SampleOptions, *, has_data: bool) -> None:
    least = {"num_images": 1, "num_completions": 1, "steps": 2, "seed": 0}
    for name, smallest in {**least, "pixels_per_frame": 1, "batch_size": 1}.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            raise OptionError(f"{name}={value}: at least {smallest}")
    check_strengths(options.temperature, options.guidance)
    if options.given is not None and options.interpolate is not None:
        raise OptionError(f"interpolate={options.interpolate}: not together with given")
    if options.interpolate is not None and options.labels is not None:
        raise OptionError(f"labels={options.labels}: not together with interpolate")
    for name, reader in READ_WITH.items():
        if getattr(options, name) is not None and getattr(options, reader) is None:
            raise OptionError(f"{name}={getattr(options, name)}: only read together with {reader}")
    if options.images is not None:
        _check_folder(options, options.images, has_data=has_data)


def _check_folder(options: SampleOptions, images: str, *, has_data: bool) -> None:
    """Refuse what is not read because a folder is, and to write where is read."""
    if options.split is not None or has_data:
        name = "data" if has_data else f"split={options.split}"
        raise OptionError(f"{name}: not together with images={images}, which is read instead")
    if Path(images).resolve() == (Path(options.output) / INDIVIDUAL).resolve():
        raise OptionError(f"output={options.output}: images={images} lies there; name another")


def _check_no_source(options: SampleOptions, *, has_data: bool) -> None:
    """Refuse images that are named where none are needed."""
    named = {"images": options.images, "split": options.split, "data": has_data or None}
    for name, value in named.items():
        if value is not None:
            told = name if name == "data" else f"{name}={value}"
            raise OptionError(f"{told}: not read, as what is drawn needs no images")


def _listed(value: list[str | int] | str | int | None) -> list[str | int] | None:
    """A list, also of what was given alone."""
    return [value] if isinstance(value, str | int) else value


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar over the rows of all images; gives a function to advance it."""
    columns = (TextColumn("Drawing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not get_console().is_terminal) as progress:
        task = progress.add_task("Drawing", total=total)
        yield lambda number: progress.advance(task, number)


COMMAND = configuration.Command(sample, SampleOptions, __doc__)
