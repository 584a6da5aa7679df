"""Draw which pixels the parameters of one pixel see.

Examples:
    pixelcnn-lit receptive_field model=pixelcnn data.image_size=[20,20] position=[10,10]
    pixelcnn-lit receptive_field model=gated data=cifar10 size=small output=field.svg
"""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig

from pixelcnn_lit import configuration
from pixelcnn_lit.drawing.output_folder import picture_file, writing_to
from pixelcnn_lit.drawing.receptive_field import describe, picture, receptive_field
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models import AbstractLitModel


@dataclass(frozen=True)
class ReceptiveFieldOptions:
    """What conf/receptive_field.yaml has beside model and data.

    Args:
        position: [row, column] of the pixel that looks; null for the middle.
        output: picture to write: FILE.png, FILE.svg or FILE.pdf.
    """

    position: list[int] | None
    output: str


def draw(config: DictConfig) -> None:
    """Draws the picture and prints what is missed.

    Raises:
        OptionError: naming the option that cannot be met.
    """
    options = configuration.read_options(ReceptiveFieldOptions, config)
    if options.position is not None and len(options.position) != 2:
        raise OptionError(f"position={options.position}: [row, column]")
    path = picture_file(options.output, [".png", ".svg", ".pdf"])
    model = configuration.build(config, "model")
    if not isinstance(model, AbstractLitModel):
        raise OptionError(f"model: {type(model).__name__} has no order of pixels")
    height, width = model.image_size
    position = options.position or [height // 2, width // 2]
    field = receptive_field(model.network, model.image_size, position)
    with writing_to(path):
        picture(field, type(model.network).__name__).savefig(path, dpi=120)
    for line in describe(field):
        print(line)
    print(options.output)


COMMAND = configuration.Command(draw, ReceptiveFieldOptions, __doc__)
