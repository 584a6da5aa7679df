"""From a checkpoint to its model, without being told which of them it is."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch

from pixelcnn_lit.models.autoencoder import LitPixelCNNAutoencoder
from pixelcnn_lit.models.base import AbstractLitModel
from pixelcnn_lit.models.gated_pixelcnn import LitGatedPixelCNN
from pixelcnn_lit.models.pixelcnn import LitPixelCNN
from pixelcnn_lit.models.pixelcnn_pp import LitPixelCNNPP

MODELS: dict[str, type[AbstractLitModel]] = {
    model.__name__: model
    for model in (LitPixelCNN, LitGatedPixelCNN, LitPixelCNNPP, LitPixelCNNAutoencoder)
}
"""What a checkpoint may name; nothing else is ever built from one."""


def load_model(checkpoint: str | Path) -> AbstractLitModel:
    """The model of a checkpoint, on the CPU and in evaluation mode, with its averaged weights.

    Args:
        checkpoint: a checkpoint file, or a run folder, whose best checkpoint is taken.

    Raises:
        ValueError: if there is none, it is damaged, or it belongs to no model with a likelihood.
    """
    path = Path(checkpoint)
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    name = _model_class(path)
    if name not in MODELS:
        raise ValueError(
            f"checkpoint={path}: holds {name or 'no model of this package'}; "
            f"allowed are {', '.join(MODELS)}"
        )
    model = MODELS[name].load_from_checkpoint(path, map_location="cpu", weights_only=True)
    return model.eval()


def _model_class(path: Path) -> str | None:
    """The class that a checkpoint names, None if it names none."""
    if not path.is_file():
        raise ValueError(f"checkpoint={path}: there is no such file")
    try:
        # torch.load overlooks a flipped bit; testzip reads every byte against its checksum
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        RuntimeError,
        pickle.UnpicklingError,
    ) as error:
        raise ValueError(f"checkpoint={path}: damaged, or no checkpoint at all") from error
    return content.get("model_class") if isinstance(content, dict) else None
