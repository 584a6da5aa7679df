"""PixelCNN++ as a model."""

from __future__ import annotations

from collections.abc import Sequence

from pixelcnn_lit.layers.activations import ResnetActivation
from pixelcnn_lit.models.base import AbstractLitModel
from pixelcnn_lit.models.parts import (
    LikelihoodName,
    OptimizerFactory,
    SchedulerFactory,
    make_condition,
    make_likelihood,
)
from pixelcnn_lit.networks.pixelcnn_pp import PixelCNNPP, check_hierarchies


class LitPixelCNNPP(AbstractLitModel):
    """PixelCNN++ (Salimans et al. 2017): two streams on several levels, logistic mixtures.

    Args:
        channels: colours of an image, C.
        num_levels: levels of a colour.
        image_size: [H, W].
        num_classes: condition on the class label; None for no.
        embedding_dim: condition on the data's ``embedding`` of this size; None for no.
        label_dropout: share of training images whose condition is hidden, for guided sampling.
        likelihood: "logistic_mixture", "channel_logistic_mixture", "softmax" or "bernoulli". The
            network orders the colours of a pixel if the likelihood does not couple them.
        num_logistic_mix: components of the mixtures; other likelihoods do not read it.
        num_resnet: see :class:`~pixelcnn_lit.networks.pixelcnn_pp.PixelCNNPP`, as all below.
        num_hierarchies: levels of resolution.
        num_filters: width of the streams.
        receptive_field_dims: rows and columns a convolution reads around a pixel.
        dropout: inside the residual blocks, in [0, 1).
        resnet_activation: "concat_elu", "elu" or "relu".
        weight_norm: normalise the weights.
        data_init: initialise from the first batch of the training data.
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
        likelihood: LikelihoodName = "logistic_mixture",
        num_logistic_mix: int = 10,
        num_resnet: int = 5,
        num_hierarchies: int = 3,
        num_filters: int = 160,
        receptive_field_dims: Sequence[int] = (3, 3),
        dropout: float = 0.5,
        resnet_activation: ResnetActivation = "concat_elu",
        weight_norm: bool = True,
        data_init: bool = True,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        image_size, receptive_field_dims = list(image_size), list(receptive_field_dims)
        check_hierarchies(num_hierarchies, image_size)
        pixels = make_likelihood(likelihood, channels, num_levels, num_logistic_mix)
        condition = make_condition(num_classes, embedding_dim, label_dropout)
        network = PixelCNNPP(
            channels,
            pixels.num_params,
            orders_channels=not pixels.couples_channels,
            cond_channels=condition.cond_channels,
            num_resnet=num_resnet,
            num_hierarchies=num_hierarchies,
            num_filters=num_filters,
            receptive_field_dims=receptive_field_dims,
            dropout=dropout,
            resnet_activation=resnet_activation,
            weight_norm=weight_norm,
        )
        super().__init__(
            network,
            pixels,
            condition,
            image_size=image_size,
            data_init=data_init,
            optimizer=optimizer,
            scheduler=scheduler,
        )
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])
