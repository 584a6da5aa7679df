"""The data a checkpoint is measured on or completes: named on the command line, or its run's."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit.configuration.building import build
from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.matching import check_fits
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models.model import AbstractLitModel


def build_data(config: DictConfig, model: AbstractLitModel) -> AbstractImageDataModule:
    """The data module of ``config.data``, or of the run in whose folder the checkpoint lies.

    Raises:
        OptionError: if there is none, or its images are not of the model's kind.
    """
    source = config
    if config.get("data") is None:
        path = Path(config.checkpoint)
        run_dir = path if path.is_dir() else path.parent.parent
        if not (run_dir / "config.yaml").is_file():
            raise OptionError(
                f"data: must be given, as checkpoint={path} lies in no run folder with config.yaml"
            )
        source = cast(DictConfig, OmegaConf.load(run_dir / "config.yaml"))
    data = cast(AbstractImageDataModule, build(source, "data"))
    check_fits(model, data)
    return data
