"""A run that is stopped anywhere and resumed sees the batches it would have seen."""

from collections import Counter

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from picture_files import numbers, write_numbered

from pixelcnn_lit.data import HFImageDataModule

# Resumed runs here save nothing, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")


class Recorder(L.LightningModule):
    """Notes which rows each training step saw."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.trainer.current_epoch, batch_idx, *numbers(batch)))
        return self.weight * 1.0

    def validation_step(self, batch, batch_idx):
        self.log("val/mean", batch["image"].float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("numbered"), 64, 3, rows_per_group=7)


def data(folder, tmp_path, **options):
    return HFImageDataModule(
        str(folder), channels=1, num_levels=256, image_size=[4, 4], batch_size=8, seed=3,
        cache_dir=str(tmp_path / "cache"), **{"num_workers": 0, "shuffle_buffer": 20, **options},
    )  # fmt: skip


def run(module, *, save_dir=None, ckpt_path=None, **options):
    """The (epoch, batch, rows…) of every step; checkpoints after every step and every epoch."""
    savers = []
    if save_dir is not None:
        savers = [
            ModelCheckpoint(save_dir, "{step}", every_n_train_steps=1, save_top_k=-1),
            ModelCheckpoint(
                save_dir,
                "end-{step}",
                save_on_train_epoch_end=True,
                every_n_epochs=1,
                save_top_k=-1,
            ),
        ]
    model = Recorder()
    trainer = L.Trainer(
        accelerator="cpu", logger=False, callbacks=savers, enable_checkpointing=bool(savers),
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        **{"max_epochs": 3, "num_sanity_val_steps": 0, **options},
    )  # fmt: skip
    trainer.fit(model, module, ckpt_path=ckpt_path)
    return model.seen


CASES = {
    "in memory": ({}, {}),
    "in memory, validating twice an epoch": ({}, {"val_check_interval": 3}),
    "in memory, sanity check": ({}, {"num_sanity_val_steps": 2}),
    "in memory, by steps": ({}, {"max_epochs": -1, "max_steps": 17}),
    "streaming": ({"streaming": True}, {}),
    "streaming with two workers": ({"streaming": True, "num_workers": 2}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_resume_from_any_step_continues_the_sequence(case, folder, tmp_path):
    data_options, trainer_options = CASES[case]
    saved = tmp_path / "saved"
    whole = run(data(folder, tmp_path, **data_options), save_dir=saved, **trainer_options)
    assert len(whole) >= 17
    names = sorted(path.stem for path in saved.iterdir())
    assert len(names) > len(whole)
    # A resume takes a while: every other place will do, fewer where workers have to start.
    names = names[:: 6 if "num_workers" in data_options else 2]
    for name in names:
        done = int(name.rpartition("=")[2])
        resumed = run(
            data(folder, tmp_path, **data_options),
            ckpt_path=str(saved / f"{name}.ckpt"),
            **trainer_options,
        )
        assert [rows for _, _, *rows in resumed] == [rows for _, _, *rows in whole[done:]], name


def test_every_epoch_has_its_own_order_and_no_row_twice(folder, tmp_path):
    whole = run(data(folder, tmp_path))
    epochs = [[entry[2:] for entry in whole if entry[0] == epoch] for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    for epoch in epochs:
        assert max(Counter(row for batch in epoch for row in batch).values()) == 1
