"""Two real processes share every epoch, and hang at no end of it."""

import json
import os
from pathlib import Path

import pytest
from picture_files import numbered_picture, write_numbered, write_parquet
from tiny_runs import run_on_two

SCRIPT = """
import json, sys
import lightning as L
import torch
from picture_files import numbers
from pixelcnn_lit.data import HFImageDataModule

class Recorder(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": [], "val": []}
    def training_step(self, batch, batch_idx):
        self.seen["train"].append([self.current_epoch, *numbers(batch)])
        return self.weight * 1.0
    def validation_step(self, batch, batch_idx):
        self.seen["val"].append([self.current_epoch, *numbers(batch)])
        self.log("val/size", float(len(batch["image"])), sync_dist=True)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

folder, out, streaming, num_workers = sys.argv[1:]
data = HFImageDataModule(
    folder, channels=1, num_levels=256, image_size=[4, 4], batch_size=8,
    streaming=streaming == "True", num_workers=int(num_workers), cache_dir=out + "/cache",
    on_corrupt="skip",
)
model = Recorder()
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    use_distributed_sampler=False, num_sanity_val_steps=0,
)
trainer.fit(model, data)
with open(f"{out}/{trainer.global_rank}.json", "w") as file:
    json.dump(model.seen, file)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("streaming", "num_workers"), [(False, 0), (True, 2)])
def test_two_processes_share_every_epoch(tmp_path, streaming, num_workers):
    folder = write_numbered(tmp_path / "data", 61, 3)
    write_numbered(tmp_path / "data", 21, split="test")
    write_numbered(tmp_path / "data", 17, split="valid")
    ranks = both_processes(tmp_path, folder, streaming, num_workers)
    for epoch in range(2):
        train, val = (
            [[step[1:] for step in rank[kind] if step[0] == epoch] for rank in ranks]
            for kind in ("train", "val")
        )
        assert [len(steps) for steps in train] == [7, 7]
        rows = [row for steps in train for step in steps for row in step]
        assert len(rows) == len(set(rows)) == 56
        assert len({len(steps) for steps in val}) == 1
        assert sorted(row for steps in val for step in steps for row in step) == list(range(17))


@pytest.mark.slow
def test_two_processes_that_skip_unevenly_wait_for_nobody(tmp_path):
    folder = tmp_path / "data"
    # Whole batches of the training rows, and the only row of a process's last validation batch.
    for split, num_rows, corrupt in (("train", 64, range(16, 32)), ("valid", 17, [16])):
        pictures = [b"nonsense" if n in corrupt else numbered_picture(n) for n in range(num_rows)]
        write_parquet(folder / f"{split}.parquet", pictures)
    ranks = both_processes(tmp_path, folder, True, 1)
    assert [len(rank["train"]) for rank in ranks] == [16, 16]
    assert all(len(step) > 1 for rank in ranks for step in rank["train"])
    assert len({len(rank["val"]) for rank in ranks}) == 1
    for epoch in range(2):
        steps = [step[1:] for rank in ranks for step in rank["val"] if step[0] == epoch]
        assert [] in steps
        assert sorted(row for step in steps for row in step) == list(range(16))


def both_processes(tmp_path, folder, streaming, num_workers):
    """What each of two processes saw."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = [str(script), str(folder), str(tmp_path), str(streaming), str(num_workers)]
    here = Path(__file__).parent
    ended = run_on_two(*arguments, env=os.environ | {"PYTHONPATH": f"{here}:{here.parent}"})
    assert [process.returncode for process in ended] == [0, 0], ended
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
