"""The models: a network and a likelihood that are trained, measured and sampled."""

from pixelcnn_lit.models.autoencoder import LitPixelCNNAutoencoder
from pixelcnn_lit.models.conv_autoencoder import LitConvAutoencoder
from pixelcnn_lit.models.loading import load_model
from pixelcnn_lit.models.model import AbstractLitModel
from pixelcnn_lit.models.variants import LitGatedPixelCNN, LitPixelCNN, LitPixelCNNPP
