"""Rounds of images, drawn as one request: what each starts from, and its place in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pixelcnn_lit.drawing.options import SampleOptions
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models import AbstractLitModel
from pixelcnn_lit.progress import progress
from pixelcnn_lit.sampling import draw_seeds


@dataclass(frozen=True)
class Rounds:
    """N images at a time, once or several times.

    The picture shows for each of the N in turn: its ``before``, its image of every round, its
    ``after``.

    Attributes:
        num_images: N.
        conds: the condition of each round, for N images.
        same_noise: every round starts from the same random numbers.
        images: levels (N, C, H, W) to complete.
        given: bool (H, W), what is kept of them.
        before: levels (N, C, H, W) each.
        after: levels (N, C, H, W) each.
        abreast: how many of the N stand side by side; what belongs to one of them then touches.
    """

    num_images: int
    conds: Sequence[Tensor | None]
    same_noise: bool = False
    images: Tensor | None = None
    given: Tensor | None = None
    before: list[Tensor] = field(default_factory=list)
    after: list[Tensor] = field(default_factory=list)
    abreast: int = 1


def check_drawable(model: AbstractLitModel, temperature: float, guidance: float) -> None:
    """Refuse what the model cannot be asked for, by asking it for no image at all.

    Raises:
        OptionError: naming the temperature or the guidance.
    """
    num_channels = model.condition.cond_channels
    cond = torch.zeros(0, num_channels) if num_channels else None
    try:
        model.sample(0, cond, temperature=temperature, guidance=guidance, batch_size=1)
    except ValueError as error:
        raise OptionError(str(error)) from error


def draw(
    model: AbstractLitModel, rounds: Rounds, options: SampleOptions
) -> tuple[list[Tensor], bool]:
    """Draw all rounds as one request; Ctrl-C keeps what is finished.

    The same seed gives the same images, whatever the batch size.

    Returns:
        The finished rounds, levels (N, C, H, W) each, on the CPU; of a first round that is not,
        its finished batches. And whether all are finished.
    """
    number, num_rounds = rounds.num_images, len(rounds.conds)
    repeats = num_rounds if rounds.same_noise else 1
    generator = torch.Generator().manual_seed(options.seed)
    seeds = draw_seeds(number * num_rounds // repeats, generator) * repeats
    conds = [cond for cond in rounds.conds if cond is not None]
    batches: list[Tensor] = []
    finished = True
    try:
        with progress("Drawing", len(seeds) * model.image_size[0], "rows of pixels") as advance:
            model.sample(
                len(seeds),
                torch.cat(conds) if conds else None,
                temperature=options.temperature,
                guidance=options.guidance,
                given=rounds.given,
                images=None if rounds.images is None else rounds.images.repeat(num_rounds, 1, 1, 1),
                seeds=seeds,
                batch_size=options.batch_size,
                on_row=lambda images, row: advance(len(images)),
                on_batch=lambda batch: batches.append(batch.cpu()),
            )
    except KeyboardInterrupt:
        finished = False
    drawn = list(torch.cat(batches).split(number)) if batches else []
    if len(drawn) > 1 and len(drawn[-1]) < number:
        drawn.pop()
    return drawn, finished
