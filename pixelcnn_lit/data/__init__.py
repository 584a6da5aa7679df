"""Image data: Hugging Face sets, embedded digits, and fields of known entropy."""

from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.data.causal_field import CausalField
from pixelcnn_lit.data.colored_datamodule import ColoredMNISTDataModule
from pixelcnn_lit.data.field_datamodule import CausalFieldDataModule
from pixelcnn_lit.data.hf_datamodule import HFImageDataModule

__all__ = [
    "AbstractImageDataModule",
    "CausalField",
    "CausalFieldDataModule",
    "ColoredMNISTDataModule",
    "HFImageDataModule",
]
