"""How many images per second does every path give, and how many does the accelerator want?

    python benchmarks/data.py
    python benchmarks/data.py --num-images 200000 --num-workers 16

Without options it makes its own drawings, ends within 3 minutes on 2 CPU cores, and closes with
one summary line. All paths run one after the other on the same files in the same run, so ratios
mean more than the numbers; the cost in core time hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from pixelcnn_lit.data import HFImageDataModule
from pixelcnn_lit.data.tables.decoding import ImageDecoder
from pixelcnn_lit.models import LitPixelCNNPP

SIDE, NUM_CLASSES = 28, 345
SECONDS = 3.0  # each path is read for about so long
BATCH_SIZE = 128


def drawing(generator: np.random.Generator) -> bytes:
    """A few white strokes on black, as a PNG file."""
    picture = Image.new("L", (SIDE, SIDE))
    points = generator.integers(2, SIDE - 2, (4, 6))
    for stroke in points:
        ImageDraw.Draw(picture).line([*map(int, stroke)], fill=255, width=2)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def write_drawings(folder: Path, num_images: int) -> None:
    """Two parquet files of drawings with 345 classes, in row groups of 1,000."""
    generator = np.random.default_rng(0)
    pool = [drawing(generator) for _ in range(4000)]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=[f"class {n}" for n in range(NUM_CLASSES)]),
        }
    )
    for number, rows in enumerate(np.array_split(np.arange(num_images), 2)):
        chosen = generator.integers(len(pool), size=len(rows))
        columns = {
            "image": [{"bytes": pool[index], "path": None} for index in chosen],
            "label": generator.integers(NUM_CLASSES, size=len(rows)),
        }
        table = pa.table(columns, schema=features.arrow_schema)
        file = folder / f"train-{number:05d}-of-00002.parquet"
        pq.write_table(table, file, row_group_size=1000)


def data_module(folder: Path, **options: object) -> HFImageDataModule:
    """The drawings, all of them for training."""
    return HFImageDataModule(
        str(folder), channels=1, num_levels=256, image_size=[SIDE, SIDE], val_fraction=0.0,
        batch_size=BATCH_SIZE, cache_dir=str(folder / "cache"), **options,
    )  # fmt: skip


def forever(loader) -> Iterator[Tensor]:
    """Images of a loader, epoch after epoch."""
    while True:
        for batch in loader:
            yield batch["image"]


def images_per_second(loader, seconds: float = SECONDS) -> float:
    """Read for a while; the first batches, which start workers, do not count."""
    images = forever(loader)
    for _ in range(4):
        next(images)
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds:
        count += len(next(images))
    images.close()
    return count / (time.perf_counter() - start)


def plain_hugging_face(folder: Path, num_workers: int) -> DataLoader:
    """What one writes without this package: stream, decode every row, collate."""
    stream = datasets.load_dataset(
        "parquet", data_files=str(folder / "*.parquet"), split="train", streaming=True
    )

    def as_tensors(row):
        return {"image": torch.from_numpy(np.array(row["image"]))[None], "label": row["label"]}

    return DataLoader(stream.map(as_tensors), BATCH_SIZE, num_workers=num_workers)


def core_time(folder: Path) -> float:
    """Microseconds of one core per streamed image: reading, decoding, batching."""
    data = data_module(folder, streaming=True, num_workers=0)
    data.setup("fit")
    loader = data.train_dataloader()
    start = time.process_time()
    count = sum(len(batch["image"]) for batch in loader)
    return (time.process_time() - start) / count * 1e6


def selection(folder: Path) -> tuple[float, int, int]:
    """Seconds to stream 20 of 345 classes; pictures decoded; pictures selected."""
    decoded = 0
    decode = ImageDecoder.__call__

    def counting(self, encoded, where):
        nonlocal decoded
        decoded += 1
        return decode(self, encoded, where)

    classes = list(range(20))
    with mock.patch.object(ImageDecoder, "__call__", counting):
        data = data_module(folder, streaming=True, num_workers=0, classes=classes, num_classes=20)
        data.setup("fit")
        checked, start = decoded, time.perf_counter()
        seen = sum(len(batch["image"]) for batch in data.train_dataloader())
        seconds = time.perf_counter() - start
    return seconds, decoded - checked, seen


def training_rate() -> float:
    """Images per second that PixelCNN++ trains on: the recipe's, on a CPU a small one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    num_images, num_steps = (BATCH_SIZE, 20) if device.type == "cuda" else (8, 1)
    num_resnet, num_filters = (5, 128) if device.type == "cuda" else (1, 32)
    model = LitPixelCNNPP(
        1, 256, [SIDE, SIDE],
        network={"num_resnet": num_resnet, "num_filters": num_filters, "data_init": False},
        likelihood={"name": "logistic_mixture", "num_logistic_mix": 5},
    ).to(device)  # fmt: skip
    images = torch.randint(256, (num_images, 1, SIDE, SIDE), dtype=torch.uint8, device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            model.log_prob(images).mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    step()
    start = time.perf_counter()
    for _ in range(num_steps):
        step()
    return num_images * num_steps / (time.perf_counter() - start)


def measure(folder: Path, num_images: int, num_workers: int) -> dict[str, float]:
    """Images per second by path."""
    rates = {}
    start = time.perf_counter()
    in_memory = data_module(folder, num_workers=num_workers)
    in_memory.setup("fit")
    rates["decode once into the cache"] = num_images / (time.perf_counter() - start)
    rates["in memory"] = images_per_second(in_memory.train_dataloader())
    for workers in sorted({0, num_workers}):
        data = data_module(folder, streaming=True, num_workers=workers)
        data.setup("fit")
        rates[f"streaming, {workers} workers"] = images_per_second(data.train_dataloader())
    plain = plain_hugging_face(folder, num_workers)
    rates[f"plain datasets + DataLoader, {num_workers} workers"] = images_per_second(plain)
    return rates


def main() -> None:
    """Measure, print a table and a summary line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=40_000)
    parser.add_argument("--num-workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_drawings(folder, options.num_images)
        rates = measure(folder, options.num_images, options.num_workers)
        cost = core_time(folder)
        seconds, num_decoded, num_selected = selection(folder)
    wanted = training_rate()
    slowest = rates[f"plain datasets + DataLoader, {options.num_workers} workers"]
    table = Table("path", "images/s", "× plain", "× training", title="28×28 grey PNG in parquet")
    for path, rate in rates.items():
        columns = (f"{rate:,.0f}", f"{rate / slowest:.1f}", f"{rate / wanted:,.1f}")
        table.add_row(path, *columns)
    console = Console()
    console.print(table)
    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else "this CPU (1 resnet, 32 filters)"
    console.print(
        f"PixelCNN++ trains on {wanted:,.1f} images/s on {device}.\n"
        f"A streamed image costs {cost:.0f} µs of one core.\n"
        f"20 of {NUM_CLASSES} classes: {options.num_images:,} rows streamed in {seconds:.2f} s, "
        f"{num_selected:,} selected and used, {num_decoded:,} decoded."
    )
    streaming = rates[f"streaming, {options.num_workers} workers"]
    print(
        f"data: in memory {rates['in memory']:,.0f} images/s, streaming {streaming:,.0f} images/s "
        f"({streaming / slowest:.1f}x plain datasets, {cost:.0f} core-µs each), "
        f"decoded {num_decoded} of "
        f"{options.num_images} rows when 20 of {NUM_CLASSES} classes are selected"
    )


if __name__ == "__main__":
    main()
