"""Activations of whole images equal the plain formulas, in values and in gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pixelcnn_lit.layers.activation import inside
from pixelcnn_lit.networks.pixelcnn_pp import RESNET_ACTIVATIONS


def plain(name: str, x: Tensor) -> Tensor:
    formulas = {
        "concat_elu": lambda: torch.cat([F.elu(x), F.elu(-x)], 1),
        "elu": lambda: F.elu(x),
        "relu": lambda: x.clamp(min=0),
    }
    return formulas[name]()


@pytest.mark.parametrize("name", RESNET_ACTIVATIONS)
@pytest.mark.parametrize("border", [(1, 1, 1, 0), (2, 0, 0, 3), (0, 0, 0, 0)])
def test_an_activation_within_its_border_is_the_padded_plain_formula(
    name: str, border: tuple[int, int, int, int]
):
    activation = RESNET_ACTIVATIONS[name]
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    expected = F.pad(plain(name, x), border)
    assert expected.shape[1] == activation.widening * 3
    torch.testing.assert_close(activation(x), plain(name, x))
    active = activation.bordered(x, border)
    torch.testing.assert_close(active.maps, expected)
    torch.testing.assert_close(active.inside, plain(name, x))
    weights = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad((maps * weights).sum(), x)[0] for maps in (active.maps, expected)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", RESNET_ACTIVATIONS)
@pytest.mark.parametrize("dropout", [0.25, 0.3, 0.001])
def test_dropout_drops_single_values_and_their_gradients(name: str, dropout: float):
    torch.manual_seed(0)
    x = torch.randn(8, 4, 20, 20, dtype=torch.float64, requires_grad=True)
    active = RESNET_ACTIVATIONS[name].bordered(x, (0, 1, 1, 0), dropout)
    dropped = active.maps
    whole = F.pad(plain(name, x), (0, 1, 1, 0))
    factor = (dropped != 0) / (1 - round(dropout * 2**16) / 2**16)
    torch.testing.assert_close(dropped, whole * factor)
    weights = torch.randn_like(whole)
    gradients = [
        torch.autograd.grad((maps * weights).sum(), x)[0] for maps in (dropped, whole * factor)
    ]
    torch.testing.assert_close(*gradients)
    share = (dropped == 0)[whole != 0].double().mean().item()
    deviation = (dropout * (1 - dropout) / (whole != 0).sum().item()) ** 0.5
    assert abs(share - dropout) < 4 * deviation
    first, second = (active.inside == 0).chunk(2, 1)
    assert not torch.equal(first, second)


def test_what_is_cut_out_of_its_border_has_no_gradient_there():
    maps = torch.randn(2, 3, 5, 6, requires_grad=True)
    weights = torch.randn(2, 3, 4, 4)
    cut = inside(maps, (1, 1, 1, 0))
    torch.testing.assert_close(cut, maps[:, :, 1:, 1:5])
    [gradient] = torch.autograd.grad((cut * weights).sum(), maps)
    torch.testing.assert_close(gradient, F.pad(weights, (1, 1, 1, 0)))
