"""Small parquet files whose pictures say which row they are."""

from __future__ import annotations

import io
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from pixelcnn_lit.data import HFImageDataModule

CLASS_NAMES = ["apple", "banana", "cherry", "date", "elderberry"]


def png(pixels: np.ndarray) -> bytes:
    """A picture file of an (H, W) or (H, W, 3) array."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def numbered_picture(number: int) -> bytes:
    """4×4 grey: the number in two bytes, and pixels that depend on it."""
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4), dtype=np.uint8)
    pixels[0, 0], pixels[0, 1] = divmod(number, 256)
    return png(pixels)


def numbers(batch: dict[str, torch.Tensor]) -> list[int]:
    """Which rows a batch holds."""
    images = batch["image"].long()
    return (images[:, 0, 0, 0] * 256 + images[:, 0, 0, 1]).tolist()


def rows_of(data: HFImageDataModule) -> list[int]:
    """Which rows an epoch of training holds, sorted."""
    return sorted(chain.from_iterable(numbers(batch) for batch in data.train_dataloader()))


def local(path: Path | str, cache: Path, **options: object) -> HFImageDataModule:
    """Grey pictures of a folder or file, all for training unless an option says otherwise."""
    usual = {"image_size": [4, 4], "num_workers": 0, "val_fraction": 0.0, "batch_size": 10}
    return HFImageDataModule(
        str(path), channels=1, num_levels=256, cache_dir=str(cache), **{**usual, **options}
    )


def write_parquet(
    file: Path,
    pictures: list[bytes | None],
    labels: list[int] | None = None,
    *,
    rows_per_group: int = 10,
    embeddings: list[list[float]] | None = None,
    described: bool = True,
    image_key: str = "image",
) -> Path:
    """A file as the Hugging Face hub holds it; ``described=False`` leaves out its description."""
    features = {image_key: datasets.Image()}
    columns: dict[str, list] = {image_key: [{"bytes": p, "path": None} for p in pictures]}
    if labels is not None:
        features["label"] = datasets.ClassLabel(names=CLASS_NAMES)
        columns["label"] = labels
    if embeddings is not None:
        features["embedding"] = datasets.List(datasets.Value("float32"))
        columns["embedding"] = embeddings
    schema = datasets.Features(features).arrow_schema
    table = pa.table(columns, schema=schema if described else schema.remove_metadata())
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=rows_per_group)
    return file


def write_numbered(
    folder: Path,
    num_rows: int,
    num_files: int = 1,
    *,
    rows_per_group: int = 10,
    split: str = "train",
) -> Path:
    """Rows 0 … num_rows−1 over several files; row n has class n % 5."""
    shards = np.array_split(np.arange(num_rows), num_files)
    for number, shard in enumerate(shards):
        write_parquet(
            folder / f"{split}-{number:05d}-of-{num_files:05d}.parquet",
            [numbered_picture(int(row)) for row in shard],
            [int(row) % 5 for row in shard],
            rows_per_group=rows_per_group,
        )
    return folder
