"""The models: a network and a likelihood that are trained, measured and sampled."""

from pixelcnn_lit.models.autoencoder import LitPixelCNNAutoencoder
from pixelcnn_lit.models.base import AbstractLitModel
from pixelcnn_lit.models.conv_autoencoder import LitConvAutoencoder
from pixelcnn_lit.models.gated_pixelcnn import LitGatedPixelCNN
from pixelcnn_lit.models.loading import load_model
from pixelcnn_lit.models.pixelcnn import LitPixelCNN
from pixelcnn_lit.models.pixelcnn_pp import LitPixelCNNPP

__all__ = [
    "AbstractLitModel",
    "LitConvAutoencoder",
    "LitGatedPixelCNN",
    "LitPixelCNN",
    "LitPixelCNNAutoencoder",
    "LitPixelCNNPP",
    "load_model",
]
