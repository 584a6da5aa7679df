"""Loading a model from a checkpoint, without being told which it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar, cast

import torch
from lightning import LightningModule

from pixelcnn_lit.checkpoints import read_checkpoint
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models.autoencoder import LitPixelCNNAutoencoder
from pixelcnn_lit.models.model import AbstractLitModel
from pixelcnn_lit.models.variants import LitGatedPixelCNN, LitPixelCNN, LitPixelCNNPP

MODELS = (LitPixelCNN, LitGatedPixelCNN, LitPixelCNNPP, LitPixelCNNAutoencoder)
"""What a checkpoint may name; nothing else is ever built from one."""

Model = TypeVar("Model", bound=LightningModule)


def load_model(checkpoint: str | Path) -> AbstractLitModel:
    """The model of a checkpoint, on the CPU and in evaluation mode, with its averaged weights.

    Args:
        checkpoint: a checkpoint file, or a run folder, whose best checkpoint is taken, or the last
            if nothing was validated.

    Raises:
        OptionError: if there is none, it is damaged, or it belongs to no model with a likelihood.
    """
    return load_one_of(MODELS, checkpoint, "checkpoint")


def load_one_of(classes: Sequence[type[Model]], checkpoint: str | Path, option: str) -> Model:
    """:func:`load_model` for some classes only.

    Args:
        classes: what is allowed.
        checkpoint: a checkpoint file, or a run folder.
        option: what ``checkpoint`` is called on the command line.

    Raises:
        OptionError: naming ``option``, if there is none, it is damaged, or it is of another class.
    """
    path = Path(checkpoint)
    if path.is_dir():  # before the first validation there is none that is best
        kept = [path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
        path = next((file for file in kept if file.exists()), kept[0])
    if not path.is_file():
        raise OptionError(f"{option}={path}: there is no such file")
    content = read_checkpoint(path)
    if content is None:
        raise OptionError(f"{option}={path}: damaged, or no checkpoint at all")
    name = cast("str | None", content.get("model_class"))
    allowed = {model.__name__: model for model in classes}
    if name not in allowed:
        raise OptionError(
            f"{option}={path}: holds {name or 'no model of this package'}; "
            f"allowed are {', '.join(allowed)}"
        )
    options = cast("dict[str, object]", content.get("hyper_parameters", {}))
    if isinstance(options.get("likelihood"), str):
        raise OptionError(f"{option}={path}: of an earlier version, whose models are not read")
    return allowed[name].load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()


def torch_device(name: Literal["cpu", "gpu"]) -> torch.device:
    """Where to compute.

    Raises:
        OptionError: if there is no GPU.
    """
    if name == "gpu" and not torch.cuda.is_available():
        raise OptionError("device=gpu: there is none; device=cpu")
    return torch.device("cuda" if name == "gpu" else "cpu")
