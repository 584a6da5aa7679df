"""Layers that run on the whole image or, on a raster walk, at one position.

On the whole image tensors are ``(B, F, H, W)``. On a walk they are ``(N, F)``, where N counts the
images (at one pixel) or the positions of a row of all images (the vertical stack): axis 1 holds
the features either way, so everything pointwise is written once and only the layers with an
extent in space, gathered here, know the difference.
"""

from pixelcnn_lit.layers import fused
from pixelcnn_lit.layers.activation import RESNET_ACTIVATIONS
from pixelcnn_lit.layers.causal import CausalConv2d, ImageConv2d, Output, Pointwise, Skip
from pixelcnn_lit.layers.conditioning import Condition
from pixelcnn_lit.layers.masks import color_groups, color_mask, kernel_mask
from pixelcnn_lit.layers.raster_cache import RasterCache
from pixelcnn_lit.layers.resample import Downsample, Upsample

__all__ = [
    "RESNET_ACTIVATIONS",
    "CausalConv2d",
    "Condition",
    "Downsample",
    "ImageConv2d",
    "Output",
    "Pointwise",
    "RasterCache",
    "Skip",
    "Upsample",
    "color_groups",
    "color_mask",
    "fused",
    "kernel_mask",
]
