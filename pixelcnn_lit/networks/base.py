"""Abstract network: floats to parameters per pixel, on the whole image or on a walk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from pixelcnn_lit.layers import ImageConv2d, RasterCache, fused

Options = TypeVar("Options")

Conds = list[Tensor | None]
"""The condition for every level of resolution."""
Features = list[list[Any]]
"""Of the rows above, per level, in the order in which ``horizontal`` reads them: tensors, or
activations within a border where they are of whole images."""


class AbstractBlock(nn.Module):
    """A part that a network repeats, which is compiled as a whole."""


class AbstractNetwork(nn.Module, ABC, Generic[Options]):
    """A causal network, split at the seam at which a walk runs it.

    A final class builds its layers from its frozen options, which stand beside it and document
    themselves.

    ``vertical`` depends on the rows above only and runs once per row; ``horizontal`` takes its
    features and the row so far and runs once per pixel. The whole image is the two in turn.

    Args:
        options: sizes and kinds of the layers.
        in_channels: floats per pixel that the input gives: C of ordered levels, C·E of embedded
            ones, those of a colour beside each other.
        num_params: parameters per pixel, as the likelihood says.
        num_colors: colours of a pixel, C; None for ``in_channels``.
        orders_channels: let the parameters of a colour see the earlier colours of the pixel; they
            are then C equal consecutive groups, one per colour.
        cond_channels: size D of the condition, 0 for none.

    Attributes:
        num_hierarchies: levels of resolution.
        data_init: whether training is to begin with data-dependent initialisation.
        options_type: the class of its options.

    Raises:
        ValueError: naming the option, if one leaves a colour without parameters or features.
    """

    num_hierarchies: int = 1
    data_init: bool = False
    options_type: ClassVar[type]

    def __init__(
        self,
        options: Options,
        in_channels: int,
        num_params: int,
        *,
        num_colors: int | None = None,
        orders_channels: bool = True,
        cond_channels: int = 0,
    ) -> None:
        super().__init__()
        num_colors = num_colors or in_channels
        if orders_channels and num_params % num_colors:
            raise ValueError(
                f"num_params={num_params}: a network that orders {num_colors} colours needs "
                "equally many for each"
            )
        self.in_channels = in_channels
        self.num_colors = num_colors
        self.num_params = num_params
        self.orders_channels = orders_channels
        self.cond_channels = cond_channels
        self._is_compiled = False
        self._build(options)

    @property
    def colors(self) -> int:
        """How many colours the network tells apart in its features."""
        return self.num_colors if self.orders_channels else 1

    @abstractmethod
    def _build(self, options: Options) -> None:
        """Make the layers; everything but the options is known."""

    @abstractmethod
    def vertical(self, x: Tensor, conds: Conds, cache: RasterCache | None = None) -> Features:
        """Features of the rows above."""

    @abstractmethod
    def horizontal(
        self, x: Tensor, features: Features, conds: Conds, cache: RasterCache | None = None
    ) -> Tensor:
        """Parameters from the features of the rows above and the row so far."""

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Compile the repeated blocks in place: a kind of block once, however often it occurs.

        Inductor gives up channels last for a graph with a convolution to half as many features or
        fewer, the first of every block of PixelCNN++; it is told not to.

        Args:
            backend: of ``torch.compile``.
        """
        import torch._dynamo.config  # a second or two, which nobody else needs
        import torch._inductor.config

        torch._inductor.config.force_layout_optimization = True
        torch._dynamo.config.recompile_limit = 64  # levels, streams, training and evaluation
        fused.disable()
        kinds: dict[str, type] = {}
        for module in self.modules():
            if is_parametrized(module):
                # torch makes a class for each; what is compiled for one is to serve all of its kind
                module.__class__ = kinds.setdefault(type(module).__qualname__, type(module))
            if isinstance(module, AbstractBlock):
                module.compile(backend=backend, dynamic=False)
        self._is_compiled = True

    def uncompiled(self) -> AbstractContextManager:
        """Without what is compiled, which is for whole images: on a walk, and to see all layers."""
        return torch.compiler.set_stance("force_eager") if self._is_compiled else nullcontext()

    def canvas(self, x: Tensor) -> Tensor:
        """What the layers read of the image; a network may add channels and pad to the right."""
        return x

    def conds(self, cond: Tensor | None, x: Tensor) -> Conds:
        """The condition for every level, a map averaged down as the level is.

        Args:
            cond: as for :meth:`forward`; a map is as large as the image.
            x: the images (B, in_channels, H, W).

        Raises:
            ValueError: if the condition is missing, not expected, or of the wrong size.
        """
        vector = (x.shape[0], self.cond_channels)
        allowed = [vector, (*vector, *x.shape[2:])] if self.cond_channels else [None]
        shape = None if cond is None else tuple(cond.shape)
        if shape not in allowed:
            takes = " or a map as large as the image, ".join(map(str, allowed))
            raise ValueError(f"cond of shape {shape}: this network takes {takes}")
        if cond is None or cond.ndim == 2:
            return [cond] * self.num_hierarchies
        block = 2 ** (self.num_hierarchies - 1)
        padding = (0, -x.shape[-1] % block, 0, -x.shape[-2] % block)
        levels = [F.pad(cond, padding)]
        for _ in range(self.num_hierarchies - 1):
            levels.append(F.avg_pool2d(levels[-1], 2))
        return [*levels]

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Parameters of every pixel.

        Args:
            x: images as floats (B, in_channels, H, W), ordered levels in [-1, 1].
            cond: (B, D), or a map (B, D, H, W), or None, as the network was built.

        Returns:
            (B, num_params, H, W); those of a pixel depend on the pixels before it in raster order
            and, if the network orders the colours, on its earlier colours.
        """
        canvas = self.canvas(x)
        conds = self.conds(cond, x)
        params = self.horizontal(canvas, self.vertical(canvas, conds), conds)
        return params[..., : x.shape[-2], : x.shape[-1]]

    def begin_cache(self, x: Tensor) -> RasterCache:
        """For a walk over images like ``x`` (B, in_channels, H, W), of which no pixel is chosen."""
        kernels = [layer for layer in self.modules() if isinstance(layer, ImageConv2d)]
        margin = max(
            max(-layer.rows.start, -layer.columns.start, layer.columns.stop - 1)
            for layer in kernels
        )
        canvas = self.canvas(x.new_zeros(x.shape))
        return RasterCache.begin(canvas, margin=margin, num_hierarchies=self.num_hierarchies)

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Refuse images on which the network cannot work; any are taken unless it says otherwise.

        Raises:
            ValueError: naming the option that does not fit (H, W).
        """


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode inside, then as before: without dropout and its random numbers."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def check_sizes(options: object, *names: str, least: int = 1) -> None:
    """Refuse sizes below 1, or numbers of features that leave one of ``least`` colours without any.

    Raises:
        ValueError: naming the first.
    """
    for name in names:
        size = getattr(options, name)
        if size < least:
            why = ", one per colour" if least > 1 else ""
            raise ValueError(f"{name}={size}: at least {least}{why}")


def check_kernel_sizes(options: object, *names: str) -> None:
    """Refuse kernels that have no centre.

    Raises:
        ValueError: naming the first.
    """
    for name in names:
        size = getattr(options, name)
        if size < 3 or size % 2 == 0:
            raise ValueError(f"{name}={size}: an odd number, at least 3")
