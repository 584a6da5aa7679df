"""Receptive field: what the parameters of one pixel see of the image.

By gradient, in float64 and with positive weights, so that no path cancels another: a value of the
image is seen if and only if its gradient is not exactly zero.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.networks.base import AbstractNetwork

_SEEN = matplotlib.colormaps["Blues"]
_MISSED = "tab:red"
_FUTURE = "0.9"


@dataclass(frozen=True)
class ReceptiveField:
    """What the parameters of one pixel see.

    Attributes:
        position: (row, column) of the pixel.
        slopes: |∂params/∂x| (outputs, C, H, W); one output per colour where the network orders
            the colours, else one for all parameters of the pixel.
    """

    position: tuple[int, int]
    slopes: Tensor

    @property
    def seen(self) -> Tensor:
        """Bool (outputs, C, H, W)."""
        return self.slopes > 0

    @property
    def past(self) -> Tensor:
        """What may be seen, bool (outputs, C, H, W): pixels before, and own earlier colours."""
        outputs, channels, height, width = self.slopes.shape
        row, column = self.position
        pixels = torch.arange(height * width).view(height, width)
        past = (pixels < pixels[row, column]).expand(outputs, channels, -1, -1).clone()
        past[:, :, row, column] = torch.arange(channels) < torch.arange(outputs)[:, None]
        return past


def receptive_field(
    network: AbstractNetwork, image_size: Sequence[int], position: Sequence[int]
) -> ReceptiveField:
    """Measures what the parameters of one pixel see.

    Args:
        network: any; it is left as it is.
        image_size: (H, W).
        position: (row, column).

    Raises:
        OptionError: if the position lies outside of the image.
        RuntimeError: if the network sees what it must not.
    """
    height, width = image_size
    row, column = position
    if not (0 <= row < height and 0 <= column < width):
        raise OptionError(
            f"position=[{row}, {column}]: from [0, 0] to [{height - 1}, {width - 1}] in images "
            f"of {height}x{width}"
        )
    positive = copy.deepcopy(network).double().eval()
    _make_positive(positive)
    x = torch.ones(1, network.in_channels, height, width, dtype=torch.float64, requires_grad=True)
    cond = x.new_zeros(1, network.cond_channels) if network.cond_channels else None
    params = positive(x, cond)[0, :, row, column].unflatten(0, (network.colors, -1)).sum(1)
    slopes = [torch.autograd.grad(total, x, retain_graph=True)[0][0] for total in params]
    field = ReceptiveField((row, column), torch.stack(slopes).abs())
    if (field.seen & ~field.past).any():
        raise RuntimeError(f"the network is not causal: at {field.position} it sees the future")
    return field


@torch.no_grad()
def _make_positive(network: AbstractNetwork) -> None:
    """Weights of one sign, small enough that no gate closes; seeds nothing outside."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        drawn = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.copy_((0.5 + drawn / 2) / parameter[0].numel())


def describe(field: ReceptiveField) -> list[str]:
    """A line for every output: how many past pixels it misses, which own colours it sees."""
    outputs, channels, _, width = field.slopes.shape
    row, column = field.position
    num_past = row * width + column
    lines = []
    num_missed = (field.past & ~field.seen).any(1).sum((1, 2))  # of some colour
    for output, missed in enumerate(num_missed.tolist()):
        own = field.seen[output, :, row, column].nonzero().flatten().tolist()
        colors = ", ".join(_color_name(index, channels) for index in own)
        looks = _color_name(output, channels) if outputs > 1 else "the pixel"
        lines.append(
            f"{looks} at [{row}, {column}] misses {missed} of {num_past} past pixels"
            + (f" and sees its own {colors}" if colors else "")
        )
    return lines


def _color_name(index: int, channels: int) -> str:
    names = {1: ["grey"], 3: ["red", "green", "blue"]}
    return names[channels][index] if channels in names else f"colour {index}"


def picture(field: ReceptiveField, title: str) -> Figure:
    """A panel for every colour of the parameters and every colour of the image.

    The bluer a value, the more paths lead to it, on a logarithmic scale; red is past and not seen,
    grey the future.
    """
    outputs, channels = field.slopes.shape[:2]
    figure = Figure(figsize=(3 * channels + 1, 3 * outputs + 1.2), layout="constrained")
    panels = figure.subplots(outputs, channels, squeeze=False)
    for output, row in enumerate(panels):
        for channel, axes in enumerate(row):
            _draw_panel(axes, field, output, channel)
            looks = _color_name(output, channels) if outputs > 1 else "parameters"
            axes.set_title(f"{looks} ← {_color_name(channel, channels)}", fontsize=9)
    figure.suptitle(title)
    meanings = {"seen": _SEEN(0.8), "past, not seen": _MISSED, "future": _FUTURE}
    handles = [Patch(color=color, label=label) for label, color in meanings.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw_panel(axes: Axes, field: ReceptiveField, output: int, channel: int) -> None:
    seen, past = field.seen[output, channel], field.past[output, channel]
    brightness = torch.zeros(seen.shape, dtype=torch.float64)
    if seen.any():
        logs = field.slopes[output, channel][seen].log10()
        brightness[seen] = 0.3 + 0.7 * (logs - logs.min()) / (logs.max() - logs.min() + 1e-9)
    colors = torch.from_numpy(_SEEN(brightness.numpy()))[..., :3]
    colors[~past] = torch.tensor(to_rgb(_FUTURE), dtype=colors.dtype)
    colors[past & ~seen] = torch.tensor(to_rgb(_MISSED), dtype=colors.dtype)
    axes.imshow(colors.numpy())
    row, column = field.position
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, linewidth=1.5))
    axes.set(xticks=[], yticks=[])
