"""Mask of the given pixels of a completion, from a few words or a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pixelcnn_lit.drawing.pictures import read_picture
from pixelcnn_lit.messages import OptionError

ALLOWED = "top:N, bottom:N, left:N, right:N, box:TOP:LEFT:HEIGHT:WIDTH, or a file .png or .npy"


def read_given(words: str, image_size: tuple[int, int]) -> Tensor:
    """The mask that the option ``task.given`` describes.

    Args:
        words: see ``ALLOWED``. In a picture file the bright pixels are given, in an array file
            those that are true or not zero.
        image_size: (H, W).

    Returns:
        bool (H, W), True where the pixel is kept.

    Raises:
        OptionError: in one line, if the words mean nothing or do not fit the images.
    """
    if Path(words).suffix in (".png", ".npy"):
        return _of_file(Path(words), image_size)
    side, *numbers = words.split(":")
    sizes = [int(number) for number in numbers] if all(map(str.isdecimal, numbers)) else []
    height, width = image_size
    match side, sizes:
        case "top", [rows]:
            box = (0, 0, rows, width)
        case "bottom", [rows]:
            box = (height - rows, 0, rows, width)
        case "left", [columns]:
            box = (0, 0, height, columns)
        case "right", [columns]:
            box = (0, width - columns, height, columns)
        case "box", [_, _, _, _]:
            box = sizes
        case _:
            raise OptionError(f"task.given={words}: allowed are {ALLOWED}")
    top, left, num_rows, num_columns = box
    if min(top, left) < 0 or top + num_rows > height or left + num_columns > width:
        raise OptionError(f"task.given={words}: reaches beyond images of {height}x{width}")
    given = torch.zeros(height, width, dtype=torch.bool)
    given[top : top + num_rows, left : left + num_columns] = True
    return given


def _of_file(file: Path, image_size: tuple[int, int]) -> Tensor:
    if file.suffix == ".png":
        mask = read_picture("task.given", file, "L") > 127
    else:
        try:
            mask = np.load(file, allow_pickle=False) != 0
        except (OSError, ValueError) as error:
            raise OptionError(f"task.given={file}: not a readable mask ({error})") from error
    if mask.shape != image_size:
        found, wanted = ("x".join(map(str, shape)) for shape in (mask.shape, image_size))
        raise OptionError(f"task.given={file}: a mask of {found}, the images are {wanted}")
    return torch.from_numpy(mask)
