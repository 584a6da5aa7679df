"""Drawing, completing and replaying whole images on a raster walk.

The walk asks the network for the parameters at one position, the likelihood for their
distribution and a *chooser* for the levels; it paints them and moves on. Read in this order:
``pixel_model`` (what is walked), ``scans`` (the parameters), ``choosers`` (the levels), ``walk``
(the loop), ``graphs`` (rows as CUDA graphs), ``batches`` (many images).
"""

from pixelcnn_lit.sampling.batches import (
    check_strengths,
    draw_batches,
    draw_seeds,
    draw_uniforms,
    fitting_batch_size,
    walk_bytes,
)
from pixelcnn_lit.sampling.choosers import Chooser, Complete, Draw, Likeliest, Replay
from pixelcnn_lit.sampling.pixel_model import PixelModel
from pixelcnn_lit.sampling.walk import RowHook, walk

__all__ = [
    "Chooser",
    "Complete",
    "Draw",
    "Likeliest",
    "PixelModel",
    "Replay",
    "RowHook",
    "check_strengths",
    "draw_batches",
    "draw_seeds",
    "draw_uniforms",
    "fitting_batch_size",
    "walk",
    "walk_bytes",
]
