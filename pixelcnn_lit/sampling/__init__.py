"""The raster walk over whole images: draw, complete, replay.

The walk asks the network for the parameters at one position, the likelihood for their
distribution and a *chooser* for the levels; it paints them and moves on. Read in this order:
``raster`` (the parameters), ``choosers`` (the levels), ``walk`` (the loop), ``graphs`` (rows as
CUDA graphs), ``request`` (many images).
"""

from pixelcnn_lit.sampling.choosers import Chooser, Complete, Draw, Likeliest, Replay
from pixelcnn_lit.sampling.request import (
    Request,
    check_strengths,
    draw_seeds,
    draw_uniforms,
    fitting_batch_size,
    walk_bytes,
)
from pixelcnn_lit.sampling.walk import RowHook, walk

__all__ = [
    "Chooser",
    "Complete",
    "Draw",
    "Likeliest",
    "Replay",
    "Request",
    "RowHook",
    "check_strengths",
    "draw_seeds",
    "draw_uniforms",
    "fitting_batch_size",
    "walk",
    "walk_bytes",
]
