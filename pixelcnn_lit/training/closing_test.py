"""Closing test: the best checkpoint measured on the test images."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from lightning.fabric.utilities.exceptions import MisconfigurationException

from pixelcnn_lit.messages import one_line, say
from pixelcnn_lit.training.parts import Parts


def measure_best(parts: Parts) -> dict[str, float]:
    """Measures the best checkpoint, or the last where nothing was validated.

    The weights are loaded into a new model: `trainer.test(ckpt_path=…)` would meet the callback
    that keeps the averaged weights, outside of training.

    Returns:
        The metrics by name; none, and a line that says why, if there is nothing to measure.
    """
    paths = (parts.checkpoints.best_path, parts.checkpoints.last_path)
    kept = next((path for path in paths if path.exists()), None)
    # rank 0 wrote it; to the others a shared folder may show it later
    kept = cast(Path | None, parts.trainer.strategy.broadcast(kept))
    if kept is None:
        say("no test: no checkpoint was written")
        return {}
    if not parts.data.test_dataloader():
        say("no test: the data have no test images")
        return {}
    model = type(parts.model).load_from_checkpoint(kept, map_location="cpu", weights_only=True)
    try:
        tested = parts.trainer.test(model, datamodule=parts.data, verbose=False)
    except MisconfigurationException as error:  # trainer.limit_test_batches below one batch
        say(f"no test: {one_line(error)}")
        return {}
    if not tested:
        say("no test: trainer.limit_test_batches=0")
    return dict(tested[0]) if tested else {}
