"""Image data: Hugging Face sets, embedded digits, coloured MNIST, and fields of known entropy."""

from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.data.hf_datamodule import HFImageDataModule
from pixelcnn_lit.data.sets.causal_field import CausalField
from pixelcnn_lit.data.sets.colored_datamodule import ColoredMNISTDataModule
from pixelcnn_lit.data.sets.digits_datamodule import DigitsDataModule
from pixelcnn_lit.data.sets.field_datamodule import CausalFieldDataModule

__all__ = [
    "AbstractImageDataModule",
    "CausalField",
    "CausalFieldDataModule",
    "ColoredMNISTDataModule",
    "DigitsDataModule",
    "HFImageDataModule",
]
