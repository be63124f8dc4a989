"""3-D convolutions and normalisations done in two dimensions."""

import copy
from dataclasses import replace

import pytest
import torch

from inference.training.gpu import online
from inference.training.gpu.conv3d_as_2d import by_slices
from inference.training.network import DefacingNet
from tests.test_predict import SMALL


def both(module, x):
    """What a module and its twin that works by slices answer, and the gradients of input and parameters."""
    twin = copy.deepcopy(module)
    by_slices(twin)
    weight = None
    found = []
    for one in (module, twin):
        given = x.clone().requires_grad_()
        answer = one(given)
        weight = torch.randn_like(answer) if weight is None else weight
        (answer * weight).sum().backward()
        found.append([answer.detach(), given.grad, *(p.grad for p in one.parameters())])
    return found


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(1, 1, 0), (1, 2, 0), (1, 1, 1), (3, 1, 1), (3, 2, 1), (4, 2, 1), (3, 3, 0), (5, 2, 2)],
)
def test_a_convolution_of_slices_is_that_of_the_volume(kernel, stride, padding, memory):
    torch.manual_seed(0)
    module = torch.nn.Conv3d(2, 3, kernel, stride, padding, dtype=torch.double)
    x = torch.randn(2, 2, 7, 9, 8, dtype=torch.double).to(memory_format=memory)
    for one, other in zip(*both(module, x), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "other",
    [{"groups": 2}, {"dilation": 2}, {"padding_mode": "reflect", "padding": 1}, {"stride": (1, 2, 2)}],
)
def test_a_convolution_that_cannot_be_done_so_is_refused(other):
    with pytest.raises(ValueError, match="by slices"):
        by_slices(torch.nn.Conv3d(2, 4, 3, **other))


def test_a_normalisation_of_slices_is_that_of_the_volume_and_remembers_the_same():
    torch.manual_seed(0)
    plain = torch.nn.BatchNorm3d(3, dtype=torch.double)
    twin = copy.deepcopy(plain)
    by_slices(twin)
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.double) * 3 + 2
    for one, other in zip(*both(plain, x), strict=True):
        torch.testing.assert_close(one, other)
    again = torch.nn.BatchNorm3d(3, dtype=torch.double)
    for one in (again, twin):
        one(x)
    for (name, one), other in zip(again.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, msg=name)
    torch.testing.assert_close(again.eval()(x), twin.eval()(x))


def test_a_network_laid_out_for_a_gpu_answers_and_learns_the_same():
    torch.manual_seed(0)
    plain = DefacingNet(replace(SMALL, fine=True, extra=1)).double()
    laid = copy.deepcopy(plain)
    online.lay_out(laid)
    assert list(laid.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 1, 64, 80, 80, dtype=torch.double)
    gradients = []
    for network in (plain, laid):
        maps, features = network.volume(x)
        (maps.square().mean() + features.square().mean()).backward()
        gradients.append([maps, features, *(p.grad for p in network.volume.parameters())])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
