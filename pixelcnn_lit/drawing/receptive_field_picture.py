"""A receptive field as a picture: what is seen, what is past and missed, what is future."""

from __future__ import annotations

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from pixelcnn_lit.drawing.receptive_field import ReceptiveField, color_name

matplotlib.use("agg")

SEEN = matplotlib.colormaps["Blues"]
MISSED = "tab:red"
FUTURE = "0.9"


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
            axes.set_title(_panel_title(output, channel, outputs, channels), fontsize=9)
    figure.suptitle(title)
    figure.legend(
        handles=[
            Patch(color=SEEN(0.8), label="seen"),
            Patch(color=MISSED, label="past, not seen"),
            Patch(color=FUTURE, label="future"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    return figure


def _draw_panel(axes: Axes, field: ReceptiveField, output: int, channel: int) -> None:
    seen, past = field.seen[output, channel], field.past[output, channel]
    brightness = torch.zeros(seen.shape, dtype=torch.float64)
    if seen.any():
        logs = field.slopes[output, channel][seen].log10()
        brightness[seen] = 0.3 + 0.7 * (logs - logs.min()) / (logs.max() - logs.min() + 1e-9)
    colors = torch.from_numpy(SEEN(brightness.numpy()))[..., :3]
    colors[~past] = torch.tensor(to_rgb(FUTURE), dtype=colors.dtype)
    colors[past & ~seen] = torch.tensor(to_rgb(MISSED), dtype=colors.dtype)
    axes.imshow(colors.numpy())
    row, column = field.position
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, linewidth=1.5))
    axes.set_xticks([])
    axes.set_yticks([])


def _panel_title(output: int, channel: int, outputs: int, channels: int) -> str:
    looks = color_name(output, channels) if outputs > 1 else "parameters"
    return f"{looks} ← {color_name(channel, channels)}"
