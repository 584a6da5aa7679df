"""Options of a drawing: those at the top of conf/sample.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.drawing.pictures import AnimationFormat
from pixelcnn_lit.messages import OptionError, check_at_least


@dataclass(frozen=True)
class SampleOptions:
    """What conf/sample.yaml has beside the task and the data.

    Args:
        checkpoint: a checkpoint, or a run folder: its best one, or the last if nothing was
            validated.
        output: folder for what is drawn, new or empty; null for a new one within the run, called
            ``samples/`` and the time.
        temperature: below 1 is sharper, 1 is the model itself.
        guidance: above 1 follows the condition more closely, 0 ignores it; for models trained with
            label_dropout.
        seed: the same seed gives the same images, from 0.
        split: of the data, where images are needed; null for test.
        images: folder of pictures to complete or to take codes from; null for images of the data.
        individual: also one PNG per image.
        npy: also the levels, (N, C, H, W).
        animation: also the pixels appearing.
        pixels_per_frame: of the animation; null for a row.
        batch_size: images drawn at a time; null for what suits the device.
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
