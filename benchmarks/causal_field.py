"""How close does every variant come to the truth? Trains each on images of known entropy.

    python benchmarks/causal_field.py
    python benchmarks/causal_field.py --steps 300 --variants gated

Two fields: in "visible" both parents of a pixel can be seen by every network; in "blind" the
stronger one lies in the blind spot of plain PixelCNN. Every step trains on fresh images, so there
is no overfitting; the excess is over the exact −log p of the very same test images.
"""

from __future__ import annotations

import argparse
import math
import platform
import time

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from pixelcnn_lit.data.sets.causal_field import CausalField
from pixelcnn_lit.images import rescale
from pixelcnn_lit.metrics import bits_per_dim
from pixelcnn_lit.models import (
    AbstractLitModel,
    LitGatedPixelCNN,
    LitPixelCNN,
    LitPixelCNNAutoencoder,
    LitPixelCNNPP,
)
from pixelcnn_lit.networks.weight_norm import initialise
from pixelcnn_lit.training.folder import code_version

IMAGE_SIZE = (10, 10)
NUM_LEVELS = 4
HIDDEN_OFFSETS = {"visible": (-1, 1), "blind": (-1, 4)}


def main() -> None:
    """Train, measure, print the table."""
    arguments = parse()
    torch.manual_seed(arguments.seed)
    table = Table("field", "variant", "truth", "bits/dim", "excess", "seconds")
    console = Console(width=100)
    summary = []
    for name, offset in HIDDEN_OFFSETS.items():
        field = CausalField(IMAGE_SIZE, num_levels=NUM_LEVELS, hidden_offset=offset)
        test = torch.from_numpy(field.sample(arguments.test_images, seed=10**6))
        truth = mean_bits(field.log_prob(test), field)
        for variant in arguments.variants:
            start = time.perf_counter()
            model = make_model(variant)
            train(model, field, arguments.steps, arguments.batch_size, f"{name}/{variant}")
            measured = measure(model, test, field)
            excess = 100 * (measured / truth - 1)
            seconds = f"{time.perf_counter() - start:.0f}"
            table.add_row(
                name, variant, f"{truth:.4f}", f"{measured:.4f}", f"{excess:+.1f} %", seconds
            )
            summary.append(f"{name}/{variant} {excess:+.1f} %")
    console.print(table)
    console.print(
        f"{arguments.steps} steps of {arguments.batch_size} fresh images, seed {arguments.seed}, "
        f"{arguments.test_images} test images of 10x10, {NUM_LEVELS} levels; "
        f"torch {torch.__version__}, {platform.machine()}, "
        f"{torch.get_num_threads()} threads, {code_version()}"
    )
    print("excess over the true entropy: " + ", ".join(summary))


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--test-images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    return parser.parse_args()


def pixelcnn() -> AbstractLitModel:
    """Deep enough to see everything but its blind spot."""
    return LitPixelCNN(
        1, NUM_LEVELS, IMAGE_SIZE, network={"num_layers": 4, "num_filters": 24, "num_hidden": 64}
    )


def gated() -> AbstractLitModel:
    """Four layers of a 7×7 and 3×3 kernels."""
    return LitGatedPixelCNN(
        1, NUM_LEVELS, IMAGE_SIZE, network={"num_layers": 4, "num_filters": 24, "num_hidden": 64}
    )


def pp() -> AbstractLitModel:
    """Two levels of resolution."""
    return LitPixelCNNPP(
        1,
        NUM_LEVELS,
        IMAGE_SIZE,
        network={"num_resnet": 2, "num_hierarchies": 2, "num_filters": 24, "dropout": 0.0},
        likelihood={"name": "logistic_mixture", "num_logistic_mix": 5},
    )


def autoencoder() -> AbstractLitModel:
    """A small code for a gated decoder: the images have nothing a code could sum up."""
    return LitPixelCNNAutoencoder(
        1,
        NUM_LEVELS,
        IMAGE_SIZE,
        latent_dim=2,
        network={"name": "gated", "num_layers": 4, "num_filters": 24, "num_hidden": 64},
    )


VARIANTS = {"pixelcnn": pixelcnn, "gated": gated, "pp": pp, "autoencoder": autoencoder}


def make_model(variant: str) -> AbstractLitModel:
    """A small model of that name."""
    return VARIANTS[variant]()


def train(
    model: AbstractLitModel, field: CausalField, num_steps: int, batch_size: int, name: str = ""
) -> None:
    """Adam with a linear warm-up and a cosine decay, on images never seen before."""
    if model.network.data_init:
        first = torch.from_numpy(field.sample(batch_size, seed=2 * 10**6))
        initialise(model.network, rescale(first, NUM_LEVELS))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=num_steps)
    model.train()
    for step in track(range(num_steps), name, transient=True, disable=not name):
        images = torch.from_numpy(field.sample(batch_size, seed=step))
        loss = -model.log_prob(images).mean() / field.num_dims
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()


@torch.no_grad()
def measure(model: AbstractLitModel, images: Tensor, field: CausalField) -> float:
    """Bits/dim over the test images."""
    model.eval()
    return mean_bits(torch.cat([model.log_prob(part) for part in images.split(250)]), field)


def mean_bits(log_prob: Tensor, field: CausalField) -> float:
    """Nats per image to bits/dim."""
    bits = float(bits_per_dim(log_prob.double(), field.num_dims).mean())
    assert math.isfinite(bits)
    return bits


if __name__ == "__main__":
    main()
