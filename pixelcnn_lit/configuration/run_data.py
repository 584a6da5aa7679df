"""The run folder of a checkpoint, and its data unless the command line names others."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit.configuration.building import build
from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.matching import check_fits
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models import AbstractLitModel

RECORD = "config.yaml"
"""What makes a folder that of a run: its configuration."""


def folder_of(checkpoint: str) -> Path:
    """The run folder that a checkpoint lies in, or its own folder where that is of no run."""
    path = Path(checkpoint)
    if path.is_dir():
        return path
    runs = (folder for folder in list(path.parents)[:2] if (folder / RECORD).is_file())
    return next(runs, path.parent)


def build_data(config: DictConfig, model: AbstractLitModel) -> AbstractImageDataModule:
    """The data module of ``config.data``, or of the run in whose folder the checkpoint lies.

    Raises:
        OptionError: if there is none, or its images are not of the model's kind.
    """
    source = config
    if config.get("data") is None:
        record = folder_of(config.checkpoint) / RECORD
        if not record.is_file():
            raise OptionError(
                f"data: must be given, as checkpoint={config.checkpoint} lies in no run folder"
                f" with {RECORD}"
            )
        source = cast(DictConfig, OmegaConf.load(record))
    data = cast(AbstractImageDataModule, build(source, "data"))
    check_fits(model, data)
    return data
