"""Matching a model and data: both state the same facts about images."""

from __future__ import annotations

from collections.abc import Iterator

from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models.trained import AbstractTrained


def check_fits(
    model: AbstractTrained, data: AbstractImageDataModule, name_of_model: str = "the model"
) -> None:
    """Refuse data of another kind than the model was trained on.

    Raises:
        OptionError: naming the fact in which they differ.
    """
    for name, wanted, found in _misfits(model, data):
        raise OptionError(f"data.{name}={found}: {name_of_model} was trained with {name}={wanted}")
    if model.facts.get("num_classes") is None:
        return
    trained, found = model.class_names or [], data.class_names or []
    for label, (name, other) in enumerate(zip(trained, found, strict=False)):
        if name != other:  # of as many classes in another order the labels mean something else
            raise OptionError(
                f"data: label {label} is {other}, the model was trained with {name};"
                f" data.classes=[{','.join(trained)}]"
            )


def check_suits(model: AbstractTrained, data: AbstractImageDataModule) -> None:
    """Refuse to train a model on data of another kind than it is built for.

    Raises:
        OptionError: naming the fact in which they differ.
    """
    for name, wanted, found in _misfits(model, data):
        raise OptionError(f"model.{name}={wanted}: the data have {name}={found}")


def _misfits(
    model: AbstractTrained, data: AbstractImageDataModule
) -> Iterator[tuple[str, object, object]]:
    """The facts in which model and data differ, as the model and as the data have them.

    A model without classes may read labelled data: it takes no notice of the labels.
    """
    for name, wanted in model.facts.items():
        found = data.facts[name]
        if wanted is not None and wanted != found:
            yield name, wanted, found
