"""Models and data that do not belong together."""

from __future__ import annotations

import pytest

from pixelcnn_lit.data import DigitsDataModule
from pixelcnn_lit.matching import check_fits, check_suits
from pixelcnn_lit.models import LitGatedPixelCNN

FACTS = {"channels": 1, "num_levels": 17, "image_size": [8, 8], "num_classes": 10}


def digits(**options: object) -> DigitsDataModule:
    return DigitsDataModule(**(FACTS | options), batch_size=10)


def model(**options: object) -> LitGatedPixelCNN:
    return LitGatedPixelCNN(**FACTS | options, network={"num_layers": 1, "num_filters": 4})


@pytest.mark.parametrize(
    "option",
    [{"channels": 3}, {"num_levels": 4}, {"image_size": [4, 4]}, {"num_classes": 5},
     {"embedding_dim": 4, "num_classes": None}],
    ids=str,
)  # fmt: skip
def test_a_model_is_not_trained_on_data_of_another_kind(option):
    name = next(iter(option))
    with pytest.raises(ValueError, match=rf"^model\.{name}=.*: the data have {name}="):
        check_suits(model(**option), digits())


def test_a_model_may_take_no_notice_of_the_labels():
    check_suits(model(num_classes=None), digits())


def test_classes_in_another_order_are_not_those_of_the_model():
    trained = model()
    trained.class_names = digits().class_names
    check_fits(trained, digits())
    others = digits(classes=[str(digit) for digit in reversed(range(10))])
    with pytest.raises(ValueError, match=r"^data: label 0 is 9, the model was trained with 0; "):
        check_fits(trained, others)
