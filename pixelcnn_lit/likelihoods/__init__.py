"""Likelihoods: the network's parameters as the distribution of the levels of every pixel.

Read in this order: ``base`` (the two interfaces), ``bernoulli``, ``softmax``, ``logistic`` (one
discretised logistic), ``logistic_mixture``.
"""

from pixelcnn_lit.likelihoods.base import AbstractLikelihood, AbstractPixels
from pixelcnn_lit.likelihoods.bernoulli import Bernoulli, BernoulliPixels
from pixelcnn_lit.likelihoods.guided import GuidedPixels
from pixelcnn_lit.likelihoods.logistic_mixture import (
    ChannelLogisticMixture,
    ChannelLogisticMixturePixels,
    LogisticMixture,
    LogisticMixturePixels,
)
from pixelcnn_lit.likelihoods.softmax import Softmax, SoftmaxPixels

__all__ = [
    "AbstractLikelihood",
    "AbstractPixels",
    "Bernoulli",
    "BernoulliPixels",
    "ChannelLogisticMixture",
    "ChannelLogisticMixturePixels",
    "GuidedPixels",
    "LogisticMixture",
    "LogisticMixturePixels",
    "Softmax",
    "SoftmaxPixels",
]
