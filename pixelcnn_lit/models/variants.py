"""PixelCNN, Gated PixelCNN and PixelCNN++ as models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from pixelcnn_lit.models.model import AbstractLitModel
from pixelcnn_lit.models.tables import Options
from pixelcnn_lit.models.trained import OptimizerFactory, SchedulerFactory
from pixelcnn_lit.networks.conditions import make_condition


class AbstractVariant(AbstractLitModel):
    """A model with a network of its own, conditioned on labels, embeddings or nothing.

    Args:
        channels: colours of an image, C.
        num_levels: levels of a colour.
        image_size: [H, W].
        num_classes: condition on the class label; None for no.
        embedding_dim: condition on the data's ``embedding`` of this size; None for no.
        label_dropout: share of training images whose condition is hidden, for guided sampling.
        network: options of the variant's network, see :mod:`pixelcnn_lit.networks`; those left out
            are the paper's.
        likelihood: name and options: "bernoulli", "softmax", "logistic_mixture",
            "channel_logistic_mixture"; None for the paper's.
        input: name and options: "levels".
        optimizer: makes the optimizer from the parameters; Adam at 1e-3 if None.
        scheduler: makes the learning-rate scheduler from the optimizer, stepped at every step.

    Attributes:
        network_name: in the table of networks.
        usual_likelihood: in the table of likelihoods, the paper's.

    Raises:
        ValueError: naming the argument, if one is out of range.

    Example:
        >>> model = LitPixelCNNPP(3, 256, [32, 32], network={"num_resnet": 1, "num_filters": 8})
        >>> model.hparams["likelihood"]
        {'name': 'logistic_mixture', 'num_logistic_mix': 10}
    """

    network_name: ClassVar[str]
    usual_likelihood: ClassVar[str]

    def __init__(
        self,
        channels: int,
        num_levels: int,
        image_size: Sequence[int],
        *,
        num_classes: int | None = None,
        embedding_dim: int | None = None,
        label_dropout: float = 0.0,
        network: Options | None = None,
        likelihood: Options | None = None,
        input: Options | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        network = {"name": self.network_name, **(network or {})}
        if network["name"] != self.network_name:
            raise ValueError(
                f"network.name={network['name']}: {type(self).__name__} is"
                f" {self.network_name}; model={network['name']} has that network"
            )
        super().__init__(
            channels,
            num_levels,
            image_size,
            make_condition(num_classes, embedding_dim, label_dropout),
            network=network,
            likelihood=likelihood or {"name": self.usual_likelihood},
            input=input,
            optimizer=optimizer,
            scheduler=scheduler,
            own_options={
                "num_classes": num_classes,
                "embedding_dim": embedding_dim,
                "label_dropout": label_dropout,
            },
        )


@final
class LitPixelCNN(AbstractVariant):
    """PixelCNN (van den Oord et al. 2016a): masked convolutions, with a blind spot."""

    network_name = "pixelcnn"
    usual_likelihood = "softmax"


@final
class LitGatedPixelCNN(AbstractVariant):
    """Gated (Conditional) PixelCNN (van den Oord et al. 2016b): two stacks, no blind spot."""

    network_name = "gated"
    usual_likelihood = "softmax"


@final
class LitPixelCNNPP(AbstractVariant):
    """PixelCNN++ (Salimans et al. 2017): two streams on several levels, logistic mixtures."""

    network_name = "pp"
    usual_likelihood = "logistic_mixture"
