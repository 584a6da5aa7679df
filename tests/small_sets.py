"""Data sets of a few given images, in the files in which the hub holds large ones."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image
from torch import Tensor


def write_split(
    folder: Path,
    split: str,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    class_names: list[str] | None = None,
    embeddings: Tensor | None = None,
) -> None:
    """``split.parquet``: images (N, C, H, W), labels (N,), embeddings (N, D) or (N, D, H, W)."""
    features: dict[str, object] = {"image": datasets.Image()}
    columns: dict[str, list] = {"image": [picture(image) for image in images]}
    if labels is not None:
        names = class_names or [str(n) for n in range(int(labels.max()) + 1)]
        features["label"] = datasets.ClassLabel(names=names)
        columns["label"] = labels.tolist()
    if embeddings is not None:
        feature: object = datasets.Value("float32")
        for _ in embeddings.shape[1:]:
            feature = datasets.List(feature)
        features["embedding"] = feature
        columns["embedding"] = embeddings.tolist()
    folder.mkdir(parents=True, exist_ok=True)
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    rows.to_parquet(folder / f"{split}.parquet")


def picture(image: Tensor) -> Image.Image:
    """(C, H, W) as a picture, grey or in colour."""
    pixels = image.movedim(0, -1).numpy().astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def random_images(number: int, channels: int, image_size: list[int], num_levels: int) -> Tensor:
    """uint8 levels (N, C, H, W)."""
    return torch.randint(num_levels, (number, channels, *image_size), dtype=torch.uint8)
