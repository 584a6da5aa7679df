"""Networks: plain modules from floats to parameters per pixel, each with its options beside it."""

from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.networks.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNOptions
from pixelcnn_lit.networks.inputs import AbstractInput, OrderedLevels
from pixelcnn_lit.networks.pixelcnn import PixelCNN, PixelCNNOptions
from pixelcnn_lit.networks.pixelcnn_pp import PixelCNNPP, PixelCNNPPOptions

__all__ = [
    "AbstractInput",
    "AbstractNetwork",
    "GatedPixelCNN",
    "GatedPixelCNNOptions",
    "OrderedLevels",
    "PixelCNN",
    "PixelCNNOptions",
    "PixelCNNPP",
    "PixelCNNPPOptions",
]
