"""Which images of a validation the pictures show."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from pixelcnn_lit.callbacks import Reconstructions, SampleGrid
from pixelcnn_lit.callbacks.reconstructions import turns
from pixelcnn_lit.images import Batch
from pixelcnn_lit.models import LitPixelCNN

SORTED = [{"image": torch.full((1, 2, 2), n % 4).byte(), "label": n // 20} for n in range(100)]
"""Five classes, one after the other, as in folders of classes."""


def shown(callback: SampleGrid | Reconstructions, model: LightningModule, folder: Path) -> Batch:
    """The examples that a picture gets to see at the end of an epoch."""
    seen: list[Batch] = []

    def picture(model: LightningModule, batch: Batch) -> Tensor:
        seen.append(batch)
        return torch.zeros(2, 2, 3, dtype=torch.uint8)

    callback.picture = picture  # type: ignore[method-assign]
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[callback], default_root_dir=folder,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, limit_train_batches=1,
    )  # fmt: skip
    trainer.fit(model, DataLoader(SORTED[:8], 8), DataLoader(SORTED, 8))  # type: ignore[arg-type]
    [batch] = seen
    return batch


def tiny(num_classes: int | None) -> LitPixelCNN:
    options = {"num_filters": 2, "num_layers": 1, "num_hidden": 2, "first_kernel_size": 3}
    return LitPixelCNN(1, 4, [2, 2], num_classes=num_classes, network=options)


def test_every_class_is_shown_when_the_data_come_class_after_class(tmp_path: Path) -> None:
    batch = shown(SampleGrid(num_columns=10, num_rows=2), tiny(5), tmp_path)
    assert batch["label"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_only_so_many_classes_are_shown_as_there_are_columns(tmp_path: Path) -> None:
    batch = shown(SampleGrid(num_columns=2, num_rows=3), tiny(5), tmp_path)
    assert batch["label"].tolist() == [0, 0, 0, 1, 1, 1]


def test_reconstructions_take_one_image_of_every_class_in_turn(tmp_path: Path) -> None:
    batch = shown(Reconstructions(num_images=8), tiny(None), tmp_path)
    assert batch["label"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert len(batch["image"]) == 8


def test_a_first_batch_of_nothing_but_corrupt_pictures_is_passed_over() -> None:
    callback, model = SampleGrid(), tiny(5)
    trainer = Trainer(accelerator="cpu", barebones=True, max_epochs=1)
    trainer.state.fn = TrainerFn.FITTING
    for number in (0, 3):
        labels = torch.zeros(number, dtype=torch.int64)
        batch = {"image": torch.zeros(number, 1, 2, 2).byte(), "label": labels}
        callback.on_validation_batch_end(trainer, model, None, batch, 0)
    assert callback._shown["label"].tolist() == [0, 0]


def test_turns_count_what_came_before() -> None:
    assert turns(torch.tensor([7, 2, 7, 7, 2])).tolist() == [0, 0, 1, 2, 1]
