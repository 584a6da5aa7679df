"""PixelCNN as a model."""

from __future__ import annotations

from collections.abc import Sequence

from pixelcnn_lit.models.base import AbstractLitModel
from pixelcnn_lit.models.parts import (
    LikelihoodName,
    OptimizerFactory,
    SchedulerFactory,
    make_condition,
    make_likelihood,
)
from pixelcnn_lit.networks.pixelcnn import ActivationName, PixelCNN


class LitPixelCNN(AbstractLitModel):
    """PixelCNN (van den Oord et al. 2016a): masked convolutions, with a blind spot.

    Args:
        channels: colours of an image, C.
        num_levels: levels of a colour.
        image_size: [H, W].
        num_classes: condition on the class label; None for no.
        embedding_dim: condition on the data's ``embedding`` of this size; None for no.
        label_dropout: share of training images whose condition is hidden, for guided sampling.
        likelihood: "softmax", "bernoulli", "channel_logistic_mixture" or "logistic_mixture". The
            network orders the colours of a pixel if the likelihood does not couple them.
        num_logistic_mix: components of the mixtures; other likelihoods do not read it.
        num_layers: see :class:`~pixelcnn_lit.networks.pixelcnn.PixelCNN`, as all below.
        num_filters: h; the stream is 2h wide around bottleneck blocks.
        bottleneck: blocks of 1×1, k×k, 1×1 convolutions, or of one k×k.
        first_kernel_size: of the convolution of the image, odd.
        kernel_size: of the blocks, odd.
        num_hidden: units of the two 1×1 layers before the output.
        activation: "relu" or "prelu".
        optimizer: makes the optimizer from the parameters; Adam at 1e-3 if None.
        scheduler: makes the learning-rate scheduler from the optimizer, stepped at every step.

    Raises:
        ValueError: naming the argument, if one is out of range.
    """

    def __init__(
        self,
        channels: int,
        num_levels: int,
        image_size: Sequence[int],
        *,
        num_classes: int | None = None,
        embedding_dim: int | None = None,
        label_dropout: float = 0.0,
        likelihood: LikelihoodName = "softmax",
        num_logistic_mix: int = 10,
        num_layers: int = 15,
        num_filters: int = 128,
        bottleneck: bool = True,
        first_kernel_size: int = 7,
        kernel_size: int = 3,
        num_hidden: int = 1024,
        activation: ActivationName = "relu",
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        image_size = list(image_size)
        pixels = make_likelihood(likelihood, channels, num_levels, num_logistic_mix)
        condition = make_condition(num_classes, embedding_dim, label_dropout)
        network = PixelCNN(
            channels,
            pixels.num_params,
            orders_channels=not pixels.couples_channels,
            cond_channels=condition.cond_channels,
            num_layers=num_layers,
            num_filters=num_filters,
            bottleneck=bottleneck,
            first_kernel_size=first_kernel_size,
            kernel_size=kernel_size,
            num_hidden=num_hidden,
            activation=activation,
        )
        super().__init__(
            network,
            pixels,
            condition,
            image_size=image_size,
            data_init=False,
            optimizer=optimizer,
            scheduler=scheduler,
        )
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])
