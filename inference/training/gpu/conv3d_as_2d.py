"""3-D convolutions and normalisations done in two dimensions: the same sums, in an order in which a GPU is faster.

A convolution of a volume is one of its slices, each with its neighbours beside it as further channels.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def slices_of(x: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B * D, C, H, W), a view where the channels lie last in memory."""
    return x.transpose(1, 2).flatten(0, 1)


def volumes_of(slices: Tensor, batch: int) -> Tensor:
    """What `slices_of` took apart."""
    return slices.unflatten(0, (batch, -1)).transpose(1, 2)


def depths(number: int, size: int, stride: int, padding: int, count: int) -> tuple[slice, slice]:
    """Which of `count` outputs find the `number`-th slice under the kernel inside the volume, and which slices these are."""
    first = max(0, -(-(padding - number) // stride))
    stop = min(count, (size - 1 + padding - number) // stride + 1)
    start = first * stride + number - padding
    return slice(first, stop), slice(start, start + (stop - first - 1) * stride + 1, stride)


class Beside(torch.autograd.Function):
    """(B, D, H, W, C) -> (B, outputs, H, W, kernel * C): what lies under the kernel along D, as further channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        count = (x.shape[1] + 2 * padding - kernel) // stride + 1
        ctx.shape, ctx.sizes = x.shape, (kernel, stride, padding, count)
        out = x.new_empty((x.shape[0], count, *x.shape[2:4], kernel, x.shape[4]))
        for number in range(kernel):
            to, source = depths(number, x.shape[1], stride, padding, count)
            out[:, : to.start, :, :, number] = 0
            out[:, to.stop :, :, :, number] = 0
            out[:, to, :, :, number] = x[:, source]
        return out.flatten(4)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        kernel, stride, padding, count = ctx.sizes
        gradient = gradients[0].unflatten(4, (kernel, -1))
        out = gradient.new_zeros(ctx.shape)
        for number in range(kernel):
            source, to = depths(number, ctx.shape[1], stride, padding, count)
            out[:, to] += gradient[:, source, :, :, number]
        return out, None, None, None


def convolved(self: nn.Conv3d, x: Tensor) -> Tensor:
    """`nn.Conv3d.forward` of a convolution with kernel, stride and padding alike in all directions, without groups."""
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
    weight = self.weight.permute(0, 2, 1, 3, 4).flatten(1, 2)  # (O, kernel * C, kernel, kernel)
    if kernel > 1 or stride > 1 or padding:
        beside = Beside.apply(x.permute(0, 2, 3, 4, 1), kernel, stride, padding)
        x = beside.permute(0, 4, 1, 2, 3)
    return volumes_of(F.conv2d(slices_of(x), weight, self.bias, stride, padding), len(x))


def normalised(self: nn.BatchNorm3d, x: Tensor) -> Tensor:
    """`nn.BatchNorm3d.forward` with running means."""
    assert self.running_mean is not None
    assert self.running_var is not None
    assert self.momentum is not None
    if self.training and self.num_batches_tracked is not None:
        self.num_batches_tracked.add_(1)
    normal = F.batch_norm(
        slices_of(x),
        self.running_mean,
        self.running_var,
        self.weight,
        self.bias,
        self.training,
        self.momentum,
        self.eps,
    )
    return volumes_of(normal, len(x))


def by_slices(model: nn.Module) -> None:
    """Have a network work so from now on; its parameters and answers stay the same.

    Raises ValueError where a convolution is not alike in all directions, or has groups, gaps or other edges than zeros.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            alike = all(len(set(n)) == 1 for n in (module.kernel_size, module.stride, module.padding))
            if not alike or module.groups > 1 or max(module.dilation) > 1 or module.padding_mode != "zeros":
                raise ValueError(f"{module} cannot be done by slices")
            module.forward = MethodType(convolved, module)  # type: ignore[method-assign]
        elif isinstance(module, nn.BatchNorm3d):
            module.forward = MethodType(normalised, module)  # type: ignore[method-assign]
