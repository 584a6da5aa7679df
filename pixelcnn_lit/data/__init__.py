"""Image data: Hugging Face sets, embedded digits, coloured MNIST, and fields of known entropy."""

from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.data.hf_datamodule import HFImageDataModule
from pixelcnn_lit.data.sets.causal_field import CausalField, CausalFieldDataModule
from pixelcnn_lit.data.sets.colored_mnist import ColoredMNISTDataModule
from pixelcnn_lit.data.sets.digits import DigitsDataModule

__all__ = [
    "AbstractImageDataModule",
    "CausalField",
    "CausalFieldDataModule",
    "ColoredMNISTDataModule",
    "DigitsDataModule",
    "HFImageDataModule",
]
