"""The raster walk over whole images: draw, complete, replay.

The walk asks the network for the parameters at one position, the likelihood for their
distribution and a *chooser* for the levels; it paints them and moves on. Read in this order:
``raster`` (the parameters), ``walk`` (the loop), ``choosers``, ``request`` (many images).
"""

from pixelcnn_lit.sampling.choosers import choose_likeliest, complete, draw, replay
from pixelcnn_lit.sampling.request import Request, draw_seeds, draw_uniforms, fitting_batch_size
from pixelcnn_lit.sampling.walk import Chooser, RowHook, walk

__all__ = [
    "Chooser",
    "Request",
    "RowHook",
    "choose_likeliest",
    "complete",
    "draw",
    "draw_seeds",
    "draw_uniforms",
    "fitting_batch_size",
    "replay",
    "walk",
]
