"""What all networks share: floats to parameters per pixel, on the whole image or on a walk."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers import ImageConv2d, Walk


class AbstractNetwork(nn.Module, ABC):
    """A causal network, split at the seam at which a walk runs it.

    ``vertical`` depends on the rows above only and runs once per row; ``horizontal`` takes its
    features and the row so far and runs once per pixel. The whole image is the two in turn.

    Attributes:
        in_channels: colours, C.
        num_params: parameters per pixel.
        orders_channels: whether the parameters of a colour see the earlier colours of the pixel;
            they are then C equal consecutive groups, one per colour.
        cond_channels: size D of the condition, 0 for none.
        num_hierarchies: levels of resolution.
    """

    def __init__(
        self,
        in_channels: int,
        num_params: int,
        *,
        orders_channels: bool,
        cond_channels: int,
        num_hierarchies: int = 1,
    ) -> None:
        super().__init__()
        if orders_channels and num_params % in_channels:
            raise ValueError(
                f"num_params={num_params}: a network that orders {in_channels} colours needs "
                "equally many for each"
            )
        self.in_channels = in_channels
        self.num_params = num_params
        self.orders_channels = orders_channels
        self.cond_channels = cond_channels
        self.num_hierarchies = num_hierarchies

    @property
    def colors(self) -> int:
        """How many colours the network tells apart in its features."""
        return self.in_channels if self.orders_channels else 1

    @abstractmethod
    def vertical(
        self, x: Tensor, conds: list[Tensor | None], walk: Walk | None = None
    ) -> list[list[Tensor]]:
        """Features of the rows above, per level, in the order ``horizontal`` reads them."""

    @abstractmethod
    def horizontal(
        self,
        x: Tensor,
        features: list[list[Tensor]],
        conds: list[Tensor | None],
        walk: Walk | None = None,
    ) -> Tensor:
        """Parameters from the features of the rows above and the row so far."""

    def canvas(self, x: Tensor) -> Tensor:
        """What the layers read of the image; a network may add channels and pad to the right."""
        return x

    def conds(self, cond: Tensor | None, x: Tensor) -> list[Tensor | None]:
        """The condition for every level, a map averaged down as the level is.

        Args:
            cond: as for :meth:`forward`; a map is as large as the image.
            x: the images (B, C, H, W).

        Raises:
            ValueError: if the condition is missing, not expected, or of the wrong size.
        """
        self._check_cond(cond, x)
        if cond is None or cond.ndim == 2:
            return [cond] * self.num_hierarchies
        block = 2 ** (self.num_hierarchies - 1)
        padding = (0, -x.shape[-1] % block, 0, -x.shape[-2] % block)
        levels: list[Tensor | None] = [F.pad(cond, padding)]
        for _ in range(self.num_hierarchies - 1):
            assert levels[-1] is not None
            levels.append(F.avg_pool2d(levels[-1], 2))
        return levels

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Parameters of every pixel.

        Args:
            x: images (B, C, H, W) in [-1, 1].
            cond: (B, D), or a map (B, D, H, W), or None, as the network was built.

        Returns:
            (B, num_params, H, W); those of a pixel depend on the pixels before it in raster order
            and, if the network orders the colours, on its earlier colours.
        """
        canvas = self.canvas(x)
        conds = self.conds(cond, x)
        params = self.horizontal(canvas, self.vertical(canvas, conds), conds)
        return params[..., : x.shape[-2], : x.shape[-1]]

    def begin_walk(self, x: Tensor) -> Walk:
        """A walk over images like ``x`` (B, C, H, W), none of whose pixels is chosen yet."""
        kernels = [layer for layer in self.modules() if isinstance(layer, ImageConv2d)]
        margin = max(
            max(-layer.rows.start, -layer.columns.start, layer.columns.stop - 1)
            for layer in kernels
        )
        canvas = self.canvas(x.new_zeros(x.shape))
        return Walk.begin(canvas, margin=margin, num_hierarchies=self.num_hierarchies)

    def _check_cond(self, cond: Tensor | None, x: Tensor) -> None:
        if (cond is None) != (self.cond_channels == 0):
            wanted = f"(B, {self.cond_channels})" if self.cond_channels else "none"
            got = "none" if cond is None else str(tuple(cond.shape))
            raise ValueError(f"cond: this network takes {wanted}, got {got}")
        if cond is None:
            return
        vector = (x.shape[0], self.cond_channels)
        if tuple(cond.shape) not in (vector, (*vector, *x.shape[2:])):
            raise ValueError(
                f"cond of shape {tuple(cond.shape)}: this network takes {vector} "
                f"or a map as large as the image, {(*vector, *x.shape[2:])}"
            )


def check_positive(**sizes: int) -> None:
    """Refuse sizes below 1, by the name under which they are given.

    Raises:
        ValueError: naming the first.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}: at least 1")


def check_room(colors: int, **sizes: int) -> None:
    """Refuse numbers of features that leave a colour without any.

    Raises:
        ValueError: naming the first.
    """
    for name, size in sizes.items():
        if size < colors:
            raise ValueError(f"{name}={size}: at least {colors}, one per colour")


def check_kernel_size(name: str, size: int) -> None:
    """Refuse a kernel that has no centre.

    Raises:
        ValueError: naming the argument.
    """
    if size < 3 or size % 2 == 0:
        raise ValueError(f"{name}={size}: an odd number, at least 3")
