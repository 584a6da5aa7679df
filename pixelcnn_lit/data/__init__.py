"""Image data: Hugging Face sets, embedded digits, and fields of known entropy."""

from pixelcnn_lit.data.datamodule import HFImageDataModule

__all__ = ["HFImageDataModule"]
