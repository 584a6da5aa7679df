"""Whether a model and the data are of one kind."""

from __future__ import annotations

from collections.abc import Iterator

from lightning import LightningModule

from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models.base import AbstractLitModel
from pixelcnn_lit.networks.conditions import LabelCondition

FACTS = ("channels", "num_levels", "image_size", "num_classes", "embedding_dim")


def check_fits(
    model: LightningModule, data: AbstractImageDataModule, name_of_model: str = "the model"
) -> None:
    """Refuse data of another kind than the model was trained on.

    Raises:
        OptionError: naming the fact in which they differ.
    """
    for name, wanted, found in _misfits(model, data):
        raise OptionError(f"data.{name}={found}: {name_of_model} was trained with {name}={wanted}")
    if isinstance(model, AbstractLitModel) and isinstance(model.condition, LabelCondition):
        _check_class_names(model.class_names, data.class_names)


def check_suits(model: LightningModule, data: AbstractImageDataModule) -> None:
    """Refuse to train a model on data of another kind than it is built for.

    Raises:
        OptionError: naming the fact in which they differ.
    """
    for name, wanted, found in _misfits(model, data):
        raise OptionError(f"model.{name}={wanted}: the data have {name}={found}")


def _misfits(
    model: LightningModule, data: AbstractImageDataModule
) -> Iterator[tuple[str, object, object]]:
    """The facts in which model and data differ, as the model and as the data have them.

    A model without classes may read labelled data: it takes no notice of the labels.
    """
    for name in FACTS:
        wanted, found = model.hparams.get(name), getattr(data, name)
        if wanted is not None and wanted != found:
            yield name, wanted, found


def _check_class_names(trained: list[str] | None, found: list[str] | None) -> None:
    """Refuse the right number of classes in another order: their labels mean something else."""
    for label, names in enumerate(zip(trained or [], found or [], strict=False)):
        if names[0] != names[1]:
            raise OptionError(
                f"data: label {label} is {names[1]}, the model was trained with {names[0]};"
                f" data.classes=[{','.join(trained or [])}]"
            )
