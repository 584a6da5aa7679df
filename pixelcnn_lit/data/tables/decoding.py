"""Image decoder: picture files to uint8 levels; what does not fit is refused, never repaired."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelcnn_lit.messages import OptionError

Resize = Literal["scale", "crop"]
Binarize = Literal["static", "dynamic"]

_MODES = {1: "L", 3: "RGB"}
_LOSSLESS = {("1", "L"), ("P", "RGB")}


class EncodedImage(TypedDict):
    """How the ``Image`` feature stores a picture: its file's bytes, or where the file lies."""

    bytes: bytes | None
    path: str | None


class CorruptImageError(OptionError):
    """A picture file that cannot be decoded."""


@dataclass(frozen=True)
class ImageDecoder:
    """Decodes picture files into levels (C, H, W).

    Args:
        channels: colours of every image, 1 or 3 for pictures.
        num_levels: levels asked for.
        image_size: (H, W).
        resize: None refuses other sizes; "crop" cuts out the centre; "scale" shrinks or grows the
            picture by area averaging until it just covers ``image_size``, then crops.
        convert_channels: turn grey into colour and back, and drop an alpha channel.
        quantize: map the bytes 0 … 255 onto ``num_levels`` equal shares.
        binarize: "static" makes 1 of bytes above 127.5; "dynamic" leaves bytes for a later draw.
    """

    channels: int
    num_levels: int
    image_size: tuple[int, int]
    resize: Resize | None = None
    convert_channels: bool = False
    quantize: bool = False
    binarize: Binarize | None = None

    def __call__(
        self, encoded: EncodedImage | bytes | None, where: Callable[[], str]
    ) -> NDArray[np.uint8]:
        """One picture as levels (C, H, W).

        Args:
            encoded: the picture file, its bytes, or None where a row has none.
            where: tells file and row, for messages.

        Raises:
            CorruptImageError: if there is no file or it cannot be decoded.
            OptionError: if size, colours or levels differ from what was asked.
        """
        picture = self._coloured(_open_picture(encoded, where), where)
        pixels = np.atleast_3d(np.asarray(self._resized(picture, where)))
        return self.to_levels(np.ascontiguousarray(pixels.transpose(2, 0, 1)), where)

    def to_levels(self, images: NDArray[np.uint8], where: Callable[[], str]) -> NDArray[np.uint8]:
        """Bytes as levels, as ``quantize`` and ``binarize`` ask.

        Args:
            images: uint8 of any shape.
            where: tells whose bytes they are, for messages.

        Returns:
            Levels of the same shape; with ``binarize="dynamic"`` still bytes.

        Raises:
            OptionError: if a byte exceeds the top level and no conversion was asked for.
        """
        if self.binarize == "static":
            return (images > 127).astype(np.uint8)
        if self.binarize == "dynamic":
            return images
        if self.quantize:
            return (images.astype(np.uint16) * self.num_levels // 256).astype(np.uint8)
        if self.num_levels < 256 and images.size and images.max() >= self.num_levels:
            raise OptionError(
                f"num_levels={self.num_levels} is below what the data hold: {where()} has level "
                f"{images.max()}; raise num_levels or say quantize=true"
            )
        return images

    def _coloured(self, picture: Image.Image, where: Callable[[], str]) -> Image.Image:
        mode = _MODES[self.channels]
        if picture.mode == mode:
            return picture
        if (picture.mode, mode) in _LOSSLESS or (self.convert_channels and holds_bytes(picture)):
            return picture.convert(mode)
        raise OptionError(
            f"channels={self.channels} does not fit {where()}, a picture of mode {picture.mode} "
            f"({len(picture.getbands())} channels); set channels or say convert_channels=true"
        )

    def _resized(self, picture: Image.Image, where: Callable[[], str]) -> Image.Image:
        height, width = self.image_size
        if picture.size == (width, height):
            return picture
        if self.resize is None:
            raise OptionError(
                f"image_size={[height, width]} does not fit {where()}, which is "
                f"{[picture.height, picture.width]}; set image_size, resize=scale or resize=crop"
            )
        if self.resize == "scale":
            factor = max(width / picture.width, height / picture.height)
            covering = round(picture.width * factor), round(picture.height * factor)
            picture = picture.resize(covering, Image.Resampling.BOX)
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        if left < 0 or top < 0:
            raise OptionError(
                f"resize=crop cannot cut image_size={[height, width]} out of {where()}, which is "
                f"{[picture.height, picture.width]}; say resize=scale"
            )
        return picture.crop((left, top, left + width, top + height))


def holds_bytes(picture: Image.Image) -> bool:
    """Whether its pixels are bytes; converting others, of 16 bits and more, cuts them at 255."""
    return picture.mode[0] not in "IF"


def _open_picture(encoded: EncodedImage | bytes | None, where: Callable[[], str]) -> Image.Image:
    """The decoded picture; all its pixels are read, so a cut-off file is noticed."""
    if encoded is None:
        raise CorruptImageError(f"{where()} has no picture; say on_corrupt=skip to leave it out")
    file = EncodedImage(bytes=encoded, path=None) if isinstance(encoded, bytes) else encoded
    try:
        content = file["bytes"]
        picture = Image.open(io.BytesIO(content) if content is not None else str(file["path"]))
        picture.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise CorruptImageError(
            f"{where()} is not a readable picture ({error}); say on_corrupt=skip to leave it out"
        ) from error
    return picture
