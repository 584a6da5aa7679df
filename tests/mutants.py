"""Plants classic bugs of PixelCNNs, one at a time, in a copy of the package: `make mutants`.

The tests named beside a bug must fail. A table tells which test caught it; the exit status is 1 if
a bug survives, and 2 if a bug could not be planted or the tests fail without one.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("pixelcnn_lit", "tests", "conf", "pyproject.toml")
NUM_PROCESSES = 2
HEAVY_MODULES = ("lightning", "torchmetrics", "torch.nn.utils.parametrizations", "einops")
"""Imported once, before the processes fork; never the package itself."""

Tests = tuple[str, ...]
"""Arguments of pytest: a file of tests/, and perhaps -k and an expression."""


def select(file: str, expression: str = "") -> Tests:
    """The tests of a file, or those that an expression chooses."""
    path = f"tests/test_{file}.py"
    return (path, "-k", expression) if expression else (path,)


PAST = select("laws_causality", "nothing_but_the_past and not any")
REACH = select("laws_causality", "whole_past")
DRAWN = select("laws_distribution", "drawn_as_often and 3 and not pixelcnn and not autoencoder")
SUM = select("laws_distribution", "sum_to_one and not autoencoder")
CACHED_PP = select("laws_sampling", "cached_parameters and pp and not any")
CACHED_GATED = select("laws_sampling", "cached_parameters and gated and not any")
REPLAYED = select("graphs", "replayed and pp and map")
SPLIT = select("laws_sampling", "split")
GRADIENT = select("laws_training", "gradient and gated")
INITIALISED = select("laws_training", "initialised")
PAPER_PIXELCNN = select("reference_networks", "pixelcnn")
PAPER_GATED = select("reference_networks", "gated")
PAPER_PP = select("reference_networks", "says and pp")
BITS = select("laws_training", "as_many_bits")
CONSTANTS = select("likelihoods", "60_digit")
JOINT = select("likelihoods", "rounded_earlier or share_one")
LAYERS = select("layers")


@dataclass(frozen=True)
class Mutant:
    """A bug: ``old`` stands exactly once in the file and becomes ``new``."""

    name: str
    file: str
    old: str
    new: str
    caught_by: Tests


MUTANTS = [
    Mutant(
        "mask B in the first layer (PixelCNN)",
        "networks/pixelcnn.py",
        'center = color_mask("A", color_groups(in_channels, colors), groups)',
        'center = color_mask("B", color_groups(in_channels, colors), groups)',
        PAST,
    ),
    Mutant(
        "mask B in the first layer (Gated)",
        "networks/gated_pixelcnn.py",
        'center = color_mask("A", color_groups(source, colors), halves)',
        'center = color_mask("B", color_groups(source, colors), halves)',
        PAST,
    ),
    Mutant(
        "mask B in the head (PixelCNN++)",
        "networks/pixelcnn_pp.py",
        'hears = color_mask("A", color_groups(in_channels, colors), groups)',
        'hears = color_mask("B", color_groups(in_channels, colors), groups)',
        PAST,
    ),
    Mutant(
        "kernel open to the right on its own row",
        "layers/masks.py",
        "past = (row < 0) | (column < 0)",
        "past = (row < 0) | (column != 0)",
        PAST,
    ),
    Mutant(
        "unshifted link into the horizontal stack",
        "networks/gated_pixelcnn.py",
        "ImageConv2d(source, wide, range(-side - 1, 0), columns)",
        "ImageConv2d(source, wide, range(-side, 1), columns)",
        PAST,
    ),
    Mutant(
        "link into the horizontal stack shifted twice",
        "networks/gated_pixelcnn.py",
        "ImageConv2d(source, wide, range(-side - 1, 0), columns)",
        "ImageConv2d(source, wide, range(-side - 2, -1), columns)",
        REACH,
    ),
    Mutant(
        "no link into the horizontal stack",
        "networks/gated_pixelcnn.py",
        "stream = self.out(gate(wide, link, cache=cache), cache)",
        "stream = self.out(gate(wide, 0 * link, cache=cache), cache)",
        REACH,
    ),
    Mutant(
        "gate halves across colour groups",
        "networks/gated_pixelcnn.py",
        "halves = groups.repeat(2)",
        "halves = color_groups(2 * num_filters, colors)",
        PAST,
    ),
    Mutant(
        "residual connection in the first layer",
        "networks/gated_pixelcnn.py",
        "self.residual = source is None",
        "self.residual = source in (None, 1)",
        PAST,
    ),
    Mutant(
        "parameter that nothing reads",
        "networks/gated_pixelcnn.py",
        "        self.link = Pointwise(wide, wide)",
        "        self.link = Pointwise(wide, wide)\n        self.unread = Pointwise(1, 1)",
        GRADIENT,
    ),
    Mutant(
        "condition that a layer does not read",
        "networks/gated_pixelcnn.py",
        "        return gate(wide, cache=cache), self.link(wide, cache)",
        "        return gate(wide, cache=cache), self.link(self.conv(x, cache), cache)",
        GRADIENT,
    ),
    Mutant(
        "unshifted u (PixelCNN++)",
        "networks/pixelcnn_pp.py",
        "above, around = range(-rows + 1, 0), range(-side, side + 1)",
        "above, around = range(-rows + 2, 1), range(-side, side + 1)",
        PAST,
    ),
    Mutant(
        "unshifted ul (PixelCNN++)",
        "networks/pixelcnn_pp.py",
        "self.ul_left = ImageConv2d(image_channels, num_filters, range(-1, 1), range(-side, 0))",
        "self.ul_left = ImageConv2d(image_channels, num_filters, range(-1, 1), range(-side, 1))",
        PAST,
    ),
    Mutant(
        "ul blind to the row above (PixelCNN++)",
        "networks/pixelcnn_pp.py",
        "start = features[0][-1] + self.ul_left(x, cache)",
        "start = 0 * features[0][-1] + self.ul_left(x, cache)",
        select("laws_training", "gradient and pp"),
    ),
    Mutant(
        "upsampled values cropped a column too far",
        "layers/resample.py",
        "            output_padding=(0, output_padding),\n        )",
        "            output_padding=(0, output_padding),\n        ).roll(-1, 3)",
        PAST,
    ),
    Mutant(
        "upsampled values cropped a row too far",
        "layers/resample.py",
        "            output_padding=(0, output_padding),\n        )",
        "            output_padding=(0, output_padding),\n        ).roll(-1, 2)",
        PAST,
    ),
    Mutant(
        "weight norm per input channel of a transposed convolution",
        "networks/weight_norm.py",
        "axis=1 if isinstance(layer, Upsample) else 0)",
        "axis=0)",
        INITIALISED,
    ),
    Mutant(
        "initialisation forgets to scale the bias",
        "networks/weight_norm.py",
        "layer.bias.copy_((layer.bias - mean) * scale)",
        "layer.bias.copy_(layer.bias - mean * scale)",
        INITIALISED,
    ),
    Mutant(
        "output in half precision",
        "layers/causal.py",
        "with torch.autocast(x.device.type, enabled=False):",
        "with torch.autocast(x.device.type, enabled=True):",
        LAYERS,
    ),
    Mutant(
        "mixture component redrawn for every colour",
        "likelihoods/logistic_mixture.py",
        "component = categorical_quantile(self.logits, uniforms[..., 0]).unsqueeze(-1)",
        "component = categorical_quantile(\n"
        "            self.logits.unsqueeze(-2), torch.rand_like(uniforms[..., 1:])\n"
        "        )\n"
        "        later = [c for c in range(component.shape[-1]) for _ in range(c)]\n"
        "        component = torch.cat([component, component, component[..., later]], -1)",
        JOINT,
    ),
    Mutant(
        "coupled with the undiscretised colour",
        "likelihoods/logistic_mixture.py",
        "            levels.append(nearest_level(position, self.num_levels))\n"
        "        return torch.stack(levels, -1).long()",
        "            levels.append(position)\n"
        "        return nearest_level(torch.stack(levels, -1), self.num_levels).long()",
        JOINT,
    ),
    Mutant(
        "coupling that both network and likelihood make",
        "models/tables.py",
        "orders_channels=not likelihood.couples_channels",
        "orders_channels=True",
        SUM,
    ),
    Mutant(
        "open upper edge bin",
        "likelihoods/logistic.py",
        "has_upper_edge = levels < num_levels - 1",
        "has_upper_edge = levels < num_levels",
        CONSTANTS,
    ),
    Mutant(
        "open lower edge bin",
        "likelihoods/logistic.py",
        "has_lower_edge = levels > 0",
        "has_lower_edge = levels >= 0",
        CONSTANTS,
    ),
    Mutant(
        "wrong bin width",
        "likelihoods/logistic.py",
        "    half_bin = 1 / (num_levels - 1)\n    inverse",
        "    half_bin = 1 / num_levels\n    inverse",
        CONSTANTS,
    ),
    Mutant(
        "levels rescaled to less than [-1, 1]",
        "images.py",
        "return x * (2 / (num_levels - 1)) - 1",
        "return x * (2 / num_levels) - 1",
        CONSTANTS,
    ),
    Mutant(
        "mean instead of sum over the pixels",
        "models/model.py",
        "return pixels.log_prob(images.movedim(1, -1)).sum((1, 2))",
        "return pixels.log_prob(images.movedim(1, -1)).mean((1, 2))",
        BITS,
    ),
    Mutant(
        "one pass over the colours of an ordering network",
        "sampling/walk.py",
        "self.passes = colors if model.network.orders_channels else [slice(None)]",
        "self.passes = [slice(None)]",
        DRAWN,
    ),
    Mutant(
        "pixels painted as levels, not rescaled",
        "sampling/walk.py",
        "x = self.model.input(levels[:, : chosen.stop])",
        "x = levels[:, : chosen.stop].to(torch.get_default_dtype())",
        DRAWN,
    ),
    Mutant(
        "temperature forgotten",
        "likelihoods/softmax.py",
        "logits = logits / temperature",
        "pass",
        select("likelihoods", "temperature"),
    ),
    Mutant(
        "guidance the wrong way round",
        "likelihoods/guided.py",
        "return torch.log_softmax(start + self.guidance * (toward - start), -1)",
        "return torch.log_softmax(toward + self.guidance * (start - toward), -1)",
        select("laws_distribution", "guidance and gated"),
    ),
    Mutant(
        "given pixels drawn, others kept",
        "sampling/choosers.py",
        "return torch.where(self._columns[column], kept, levels)",
        "return torch.where(self._columns[column], levels, kept)",
        select("laws_sampling", "given and gated"),
    ),
    Mutant(
        "every batch drawn from the same seeds",
        "sampling/batches.py",
        "draw_uniforms(seeds[part],",
        "draw_uniforms(seeds[: part.stop - part.start],",
        SPLIT,
    ),
    Mutant(
        "walk: stale rows",
        "layers/causal.py",
        "        if len(self.lines) > 1:\n            self.lines[:-1] = self.lines[1:].clone()",
        "        return",
        LAYERS,
    ),
    Mutant(
        "walk: rows age before the next one has read them",
        "layers/causal.py",
        "        self.inputs.convolve(self.num_above, self.outputs)\n        self.inputs.shift()",
        "        self.inputs.shift()\n        self.inputs.convolve(self.num_above, self.outputs)",
        LAYERS,
    ),
    Mutant(
        "walk: pending pixels of the second row missing",
        "layers/resample.py",
        "return self.pixels[self.cache.row % 2][column]",
        "return self.pixels[0][column]",
        CACHED_PP,
    ),
    Mutant(
        "walk: second pending row missing",
        "layers/resample.py",
        "return self.rows[self.cache.row % 2]",
        "return self.rows[0]",
        CACHED_PP,
    ),
    Mutant(
        "walk: pixels forgotten while the coarser level sleeps",
        "layers/resample.py",
        "return pixel.push(x, cache.column)",
        "return None",
        CACHED_PP,
    ),
    Mutant(
        "walk: rows forgotten while the coarser level sleeps",
        "layers/resample.py",
        "return row.push(x)",
        "return None",
        CACHED_PP,
    ),
    Mutant(
        "walk: coarser level keeps its first row",
        "layers/raster_cache.py",
        "            self.coarser._start_caches()",
        "            pass",
        CACHED_PP,
    ),
    Mutant(
        "walk: coarser level conditioned on the map of the finest",
        "sampling/scans.py",
        "        self.maps: dict[int, PresentRow] = {}",
        "        self.conds = self.conds[:1] * network.num_hierarchies\n"
        "        self.maps: dict[int, PresentRow] = {}",
        CACHED_PP,
    ),
    Mutant(
        "walk: every row conditioned on the first of the map",
        "sampling/scans.py",
        "present.read(row >> level)",
        "present.read(0)",
        CACHED_GATED,
    ),
    Mutant(
        "graphs: what the rows above give moves through the memory",
        "layers/causal.py",
        "        self.inputs.convolve(self.num_above, self.outputs)\n",
        "        self.outputs = self.inputs.new_outputs()\n"
        "        self.above = self.inputs.inside(self.outputs).unbind(1)\n"
        "        self.inputs.convolve(self.num_above, self.outputs)\n",
        select("graphs", "stays_where and pp"),
    ),
    Mutant(
        "graphs: the rows waiting for a second one move through the memory",
        "layers/resample.py",
        "self.rows.copy_(block.transpose(0, 1).flatten(1, 2))",
        "self.rows = block.transpose(0, 1).flatten(1, 2)",
        select("graphs", "stays_where and pp"),
    ),
    Mutant(
        "graphs: random numbers of the recorded row used again",
        "sampling/choosers.py",
        "        self._uniforms.read(row)",
        "        self._uniforms.read(row)\n"
        "        self._columns = self._uniforms.here.clone().unbind(1)",
        REPLAYED,
    ),
    Mutant(
        "graphs: rows of different kinds taken for the same",
        "sampling/scans.py",
        "return next((n for n in range(num_coarser) if row >> n & 1), num_coarser)",
        "return next((n for n in range(num_coarser) if row >> n & 1), 0)",
        REPLAYED,
    ),
    Mutant(
        "graphs: work done twice when a recording fails",
        "sampling/graphs.py",
        "        except RuntimeError as error:\n",
        "        except RuntimeError as error:\n            work()\n",
        select("graphs", "fails and gated"),
    ),
    Mutant(
        "wrong skip of the encoder for a block of the decoder",
        "networks/pixelcnn_pp.py",
        "given = [next(read), skips.pop()] if read else [skips.pop()]",
        "given = [next(read), skips.pop(0)] if read else [skips.pop(0)]",
        PAPER_PP,
    ),
    Mutant(
        "no residual connection (PixelCNN)",
        "networks/pixelcnn.py",
        "return x + (_run(self.widen, hidden, cache) if self.widen else hidden)",
        "return 0 * x + (_run(self.widen, hidden, cache) if self.widen else hidden)",
        PAPER_PIXELCNN,
    ),
    Mutant(
        "no residual connection in any layer (Gated)",
        "networks/gated_pixelcnn.py",
        "return x + stream if self.residual else stream",
        "return stream",
        PAPER_GATED,
    ),
    Mutant(
        "no residual connection (PixelCNN++)",
        "networks/pixelcnn_pp.py",
        "x = x + F.glu(wide, 1)",
        "x = F.glu(wide, 1)",
        PAPER_PP,
    ),
    Mutant(
        "tanh and sigmoid of the gate swapped",
        "networks/gated_pixelcnn.py",
        "return torch.tanh(value) * torch.sigmoid(opening)",
        "return torch.sigmoid(value) * torch.tanh(opening)",
        PAPER_GATED,
    ),
    Mutant(
        "link taken after the gate instead of before",
        "networks/gated_pixelcnn.py",
        "return gate(wide, cache=cache), self.link(wide, cache)",
        "gated = gate(wide, cache=cache)\n"
        "        return gated, self.link(gated.repeat(1, 2, *[1] * (wide.ndim - 2)), cache)",
        PAPER_GATED,
    ),
    Mutant(
        "half the dropout",
        "networks/pixelcnn_pp.py",
        "self.dropout = options.dropout",
        "self.dropout = options.dropout / 2",
        select("reference_networks", "dropout"),
    ),
    Mutant(
        "dropout of x and −x at once, before the activation",
        "layers/kernels.cpp",
        "                negative[c] = drops && (bits >> 16)",
        "                negative[c] = drops && (bits & 0xFFFF)",
        select("fused", "dropout"),
    ),
    Mutant(
        "dropout that does not scale what it keeps",
        "layers/kernels.py",
        "return 2**16 / (2**16 - dropped)",
        "return 1.0",
        select("fused", "dropout"),
    ),
    Mutant(
        "dropout of the same values in every row",
        "layers/kernels.cpp",
        "features, activation.key(pixel));",
        "features, activation.key(j));",
        select("fused", "dropout"),
    ),
    Mutant(
        "gradient of the half of −x with the wrong sign",
        "layers/kernels.cpp",
        "total -= drops",
        "total += drops",
        select("fused", "activation"),
    ),
    Mutant(
        "gradient of what dropout has silenced",
        "layers/kernels.cpp",
        "T total = drops && (bits & 0xFFFF) < dropped ? T(0) : first;",
        "T total = first;",
        select("fused", "dropout"),
    ),
    Mutant(
        "border with what lay in memory",
        "layers/kernels.cpp",
        "        [&](long row) { zero(result + row * maps.outer_width() * wide,"
        " maps.outer_width() * wide); });\n}\n\ntemplate <typename T, bool doubled, bool drops>\n"
        "void activate_backward",
        "        [&](long row) {});\n}\n\ntemplate <typename T, bool doubled, bool drops>\n"
        "void activate_backward",
        select("fused", "activation"),
    ),
    Mutant(
        "summand read beside its place",
        "layers/kernels.cpp",
        "return row * outer_width() + left;",
        "return row * outer_width();",
        select("fused", "activation"),
    ),
    Mutant(
        "gradient of the sum lost where its activation has one",
        "layers/kernels.cpp",
        "g[c] = of_sum ? of_sum[place + c] : T(0);",
        "g[c] = of_sum && !of_result ? of_sum[place + c] : T(0);",
        select("fused", "gate"),
    ),
    Mutant(
        "slope of σ without its square",
        "layers/kernels.cpp",
        "of_b[c] = g[c] * a[c] * open * (T(1) - open);",
        "of_b[c] = g[c] * a[c] * open;",
        select("fused", "gate"),
    ),
    Mutant(
        "slope of tanh without its square",
        "layers/kernels.cpp",
        "of_value[c] = g[c] * open * (T(1) - value * value);",
        "of_value[c] = g[c] * open * (T(1) - value);",
        select("fused", "gate"),
    ),
    Mutant(
        "exponentials that make a number of what is none",
        "layers/kernels.cpp",
        "x = x > 80.0f ? 80.0f : x;",
        "x = x < 80.0f ? x : 80.0f;",
        select("fused", "no_number"),
    ),
    Mutant(
        "skips whose weights are taken map after map",
        "layers/causal.py",
        "per_map = self.kernel().view(len(self.bias), self.widening, self.num_maps, -1)",
        "per_map = self.kernel().view(\n"
        "            len(self.bias), self.num_maps, self.widening, -1\n"
        "        ).transpose(1, 2)",
        PAPER_PP,
    ),
    Mutant(
        "no activation before the parameters (PixelCNN++)",
        "networks/pixelcnn_pp.py",
        "return self.out(F.elu(ul), cache)",
        "return self.out(ul, cache)",
        PAPER_PP,
    ),
    Mutant(
        "no channel of ones (PixelCNN++)",
        "networks/pixelcnn_pp.py",
        "torch.ones_like(x[:, :1])",
        "torch.zeros_like(x[:, :1])",
        PAPER_PP,
    ),
    Mutant(
        "map of the condition subsampled on coarser levels",
        "networks/base.py",
        "levels.append(F.avg_pool2d(levels[-1], 2))",
        "levels.append(levels[-1][..., ::2, ::2])",
        PAPER_PP,
    ),
    Mutant(
        "small initialisation of the wrong convolution of a block",
        "networks/pixelcnn_pp.py",
        "self.conv_out.init_deviation",
        "self.conv_in.init_deviation",
        INITIALISED,
    ),
    Mutant(
        "directions of normed weights ten times too long",
        "networks/pixelcnn_pp.py",
        "nn.init.normal_(torch.empty(layer.weight.shape), std=0.05)",
        "nn.init.normal_(torch.empty(layer.weight.shape), std=0.5)",
        select("laws_training", "directions"),
    ),
    Mutant(
        "labels off by one",
        "networks/conditions.py",
        "F.one_hot(value.long(), self.cond_channels)",
        "F.one_hot(value.long(), self.cond_channels).roll(1, 1)",
        select("conditions", "one_hot"),
    ),
    Mutant(
        "encoder that does not look at the image",
        "networks/encoder.py",
        "return self.code(self.layers(x).flatten(1))",
        "return self.code(self.layers(0 * x).flatten(1))",
        select("autoencoder", "sees_every_pixel"),
    ),
    Mutant(
        "loss in nats",
        "models/model.py",
        "loss = bits_per_dim(log_prob, self.num_dims).mean()",
        "loss = nats_per_dim(log_prob, self.num_dims).mean()",
        select("laws_training", "descends"),
    ),
    Mutant(
        "bits/dim: a short batch weighs as much as a whole one",
        "metrics.py",
        "        self.log_prob += log_prob.detach().double().sum()\n"
        "        self.num_dims += num_dims * log_prob.numel()",
        "        self.log_prob += log_prob.detach().double().mean()\n"
        "        self.num_dims += num_dims",
        select("metrics", "short_last_batch"),
    ),
    Mutant(
        "evaluated without the condition",
        "commands/evaluate.py",
        "yield model.log_prob(images, cond).cpu()",
        "yield model.log_prob(images, cond if cond is None else cond * 0).cpu()",
        select("evaluate", "in_one_batch"),
    ),
    Mutant(
        "guidance: mean instead of sum over the colours",
        "likelihoods/guided.py",
        "return torch.stack(chosen, -1).sum(-1)",
        "return torch.stack(chosen, -1).mean(-1)",
        select("guided_pixels"),
    ),
    Mutant(
        "guidance: parameters beyond the first position not read",
        "likelihoods/guided.py",
        "take(self._level_log_probs(color, levels), levels",
        "take(self._level_log_probs(color, levels)[:1], levels",
        select("guided_pixels"),
    ),
    Mutant(
        "walk: a margin too narrow for the kernel",
        "networks/base.py",
        "return RasterCache.begin(canvas, margin=margin,",
        "return RasterCache.begin(canvas, margin=margin - 1,",
        CACHED_GATED,
    ),
    Mutant(
        "colours counted as floats of the input",
        "networks/base.py",
        "return self.num_colors if self.orders_channels else 1",
        "return self.in_channels if self.orders_channels else 1",
        select("networks", "floats_of_a_colour"),
    ),
    Mutant(
        "walk: levels kept in a byte whatever their number",
        "images.py",
        "return next(kind for kind in kinds if num_levels - 1 <= torch.iinfo(kind).max)",
        "return kinds[0]",
        select("sampling", "beyond_a_byte"),
    ),
    Mutant(
        "saved options without the defaults",
        "models/tables.py",
        'return {"name": given["name"], **lists}',
        "return dict(given)",
        select("models", "plain_nested"),
    ),
]


@dataclass(frozen=True)
class Result:
    """How the tests of a mutant ended."""

    name: str
    status: int
    first_failure: str
    seconds: float
    output: str


class FirstFailure:
    """Pytest plugin that remembers which test failed first."""

    def __init__(self) -> None:
        self.test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after every phase of a test."""
        if report.failed and not self.test:
            self.test = report.nodeid.removeprefix("tests/")


def main(names: Sequence[str]) -> int:
    """Plants the mutants whose name contains one of ``names``, or all, and prints the table."""
    chosen = [m for m in MUTANTS if not names or any(name in m.name for name in names)]
    if not chosen:
        print(f"no mutant is called like {' or '.join(names)}", file=sys.stderr)
        return 2
    for mutant in chosen:
        mutated(mutant)  # fails before anything runs
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for module in HEAVY_MODULES:
        importlib.import_module(module)
    selections = list(dict.fromkeys(mutant.caught_by for mutant in chosen))
    start = time.perf_counter()
    context = multiprocessing.get_context("fork")
    with context.Pool(NUM_PROCESSES, maxtasksperchild=1) as pool:
        for result in pool.imap(_run_clean, selections):
            if result.status != pytest.ExitCode.OK:
                print(f"{result.output}\nwithout a bug: {result.name} does not pass")
                return 2
        print(f"{len(selections)} choices of tests pass without a bug")
        results = []
        for result in pool.imap(_run_mutant, chosen):
            results.append(result)
            print(_line(result), flush=True)
    failed = pytest.ExitCode.TESTS_FAILED
    broken = [result for result in results if result.status not in (failed, pytest.ExitCode.OK)]
    survivors = [result for result in results if result.status == pytest.ExitCode.OK]
    for result in broken:
        print(f"{result.output}\n{result.name}: the tests did not run")
    caught = len(results) - len(survivors) - len(broken)
    print(f"{caught} of {len(results)} bugs caught in {time.perf_counter() - start:.0f} s")
    return 2 if broken else int(bool(survivors))


def mutated(mutant: Mutant) -> str:
    """The text of the file with the bug.

    Raises:
        ValueError: if the place is gone or there are several.
    """
    text = (ROOT / "pixelcnn_lit" / mutant.file).read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.name}: {mutant.file} holds {text.count(mutant.old)} times: {mutant.old}"
        )
    return text.replace(mutant.old, mutant.new)


def _run_clean(selection: Tests) -> Result:
    return _run(" ".join(selection), selection, None)


def _run_mutant(mutant: Mutant) -> Result:
    return _run(mutant.name, mutant.caught_by, mutant)


def _run(name: str, selection: Tests, mutant: Mutant | None) -> Result:
    """Runs the tests in a copy; the process is used for nothing else afterwards."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in COPIED:
            source = ROOT / part
            target = copy / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        if mutant:
            (copy / "pixelcnn_lit" / mutant.file).write_text(mutated(mutant))
        os.chdir(copy)
        sys.path.insert(0, folder)
        first_failure = FirstFailure()
        with (copy / "output").open("w+") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", *selection]
            status = pytest.main(arguments, plugins=[first_failure])
            sys.stdout.flush()
        package = importlib.import_module("pixelcnn_lit")
        assert Path(package.__file__ or "").is_relative_to(copy), "tested the wrong package"
        seconds = time.perf_counter() - start
        text = (copy / "output").read_text()
        os.chdir(ROOT)
    return Result(name, int(status), first_failure.test, seconds, text)


def _line(result: Result) -> str:
    word = {0: "SURVIVED", 1: "caught"}.get(result.status, "BROKEN")
    return f"{word:8}  {result.name:58}  {result.seconds:4.0f} s  {result.first_failure}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
