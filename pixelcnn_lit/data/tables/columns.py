"""Column finder: which columns of a table hold pictures, labels and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import pyarrow as pa

from pixelcnn_lit.data.class_names import class_number
from pixelcnn_lit.messages import OptionError

_LABEL_NAMES = ("label", "labels", "class")


@dataclass(frozen=True)
class Columns:
    """Names of the columns in use, and what the labels mean.

    Attributes:
        image: the picture column.
        label: the label column, or None.
        embedding: the embedding column, or None.
        labels: the wanted labels in their new order, or None for all.
        class_names: names of the labels 0, 1, … that batches will hold, or None if nameless.
    """

    image: str
    label: str | None
    embedding: str | None
    labels: tuple[int, ...] | None
    class_names: tuple[str, ...] | None


def find_columns(
    features: datasets.Features,
    *,
    image_key: str | None = None,
    label_key: str | None = None,
    embedding_key: str | None = None,
    classes: Sequence[str | int] | None = None,
    num_classes: int | None = None,
) -> Columns:
    """The columns that options of `HFImageDataModule` name, or their types and names give away.

    Raises:
        OptionError: if a name is unknown, the choice is not clear, or ``num_classes`` is wrong.
    """
    keys = {"image_key": image_key, "label_key": label_key, "embedding_key": embedding_key}
    for option, key in keys.items():
        if key is not None and key not in features:
            raise OptionError(f"{option}={key} is no column; there are {', '.join(features)}")
    label = label_key or _find_label(features)
    if label is None:
        if classes is not None or num_classes is not None:
            raise OptionError(
                f"num_classes={num_classes} and classes need labels, but the columns are "
                f"{', '.join(features)}; set label_key, or num_classes=null"
            )
        return Columns(image_key or _find_image(features), None, embedding_key, None, None)
    feature = features[label]
    if not isinstance(feature, datasets.ClassLabel) and not _is_integer(feature):
        raise OptionError(
            f"label_key={label} is a column of {getattr(feature, 'dtype', feature)}; labels are"
            " whole numbers or class labels, which class_encode_column of `datasets` makes of text"
        )
    names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
    labels = None
    if classes is not None:
        num_known, owner = len(names or ()) or None, f"the column {label}"
        labels = tuple(class_number("classes", c, names, num_known, owner) for c in classes)
        if len(set(labels)) < len(labels):
            raise OptionError(f"classes={list(classes)} names a class twice")
        names = names and tuple(names[old] for old in labels)
    found = names if labels is None else labels
    if num_classes is not None and found is not None and len(found) != num_classes:
        raise OptionError(f"num_classes={num_classes} is wrong: the data have {len(found)} classes")
    return Columns(image_key or _find_image(features), label, embedding_key, labels, names)


def _find_image(features: datasets.Features) -> str:
    found = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    found = found or [key for key, feature in features.items() if _looks_like_pictures(feature)]
    if len(found) != 1:
        raise OptionError(
            f"image_key must say which column holds pictures: {', '.join(found or features)}"
        )
    return found[0]


def _looks_like_pictures(feature: object) -> bool:
    """Bytes, or a struct of bytes and path: pictures in a file that is not described."""
    if isinstance(feature, datasets.Value):
        return pa.types.is_binary(feature.pa_type) or pa.types.is_large_binary(feature.pa_type)
    return isinstance(feature, dict) and set(feature) == {"bytes", "path"}


def _is_integer(feature: object) -> bool:
    """True and false, too, are 1 and 0."""
    return isinstance(feature, datasets.Value) and (
        pa.types.is_integer(feature.pa_type) or pa.types.is_boolean(feature.pa_type)
    )


def _find_label(features: datasets.Features) -> str | None:
    """None if there is none, or if several could be meant and none has the usual name."""
    classes = [key for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    usual = [key for key in _LABEL_NAMES if key in classes or _is_integer(features.get(key))]
    if usual:
        return usual[0]
    return classes[0] if len(classes) == 1 else None
