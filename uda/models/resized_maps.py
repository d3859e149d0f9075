"""Linear layers after bilinear resizing, computed from the small maps: the same numbers, less work.

Resizing a map (h, w) to (H, W) is `R X S^T` with fixed matrices R (H, h) and S (W, w). A 1x1
convolution changes channels alone, so it may come first. A depth-wise convolution multiplies rows
and columns by shifted copies of R and S, which are made here, zeros beyond the border included.
Neither makes the large map. Values differ from those of the other order by rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resized_sum(maps: Sequence[Tensor], size: Sequence[int], *, align_corners: bool) -> Tensor:
    """The sum of bilinearly resized maps (N, C, *size), without a resized map of its own for each.

    Args:
        maps: (N, C, h, w) each, of any sizes.
        size: Height and width of the sum.
        align_corners: As `torch.nn.functional.interpolate` has it.

    >>> maps = [torch.ones(1, 1, 2, 2), torch.full((1, 1, 1, 1), 2.0)]
    >>> resized_sum(maps, (2, 2), align_corners=False).flatten().tolist()
    [3.0, 3.0, 3.0, 3.0]
    """
    height, width = size
    same = [one for one in maps if tuple(one.shape[2:]) == (height, width)]
    others = [one for one in maps if tuple(one.shape[2:]) != (height, width)]
    total = sum(same[1:], same[0]) if same else None
    if not others:
        return same[0] if total is None else total
    count, channels = others[0].shape[:2]
    wide, rows = [], []
    for one in others:
        across = resizing(one.shape[3], width, like=one, align_corners=align_corners)
        wide.append(torch.matmul(one, across.t()))
        rows.append(resizing(one.shape[2], height, like=one, align_corners=align_corners))
    stacked = torch.cat(wide, 2).flatten(0, 1)
    down = torch.cat(rows, 1).expand(stacked.shape[0], -1, -1)
    if total is None:
        return torch.bmm(down, stacked).view(count, channels, height, width)
    return torch.baddbmm(total.flatten(0, 1), down, stacked).view(count, channels, height, width)


def depthwise_of_resized(
    image: Tensor, weight: Tensor, size: Sequence[int], *, dilation: int, align_corners: bool
) -> Tensor:
    """A depth-wise convolution of a bilinearly resized map, zeros beyond its border.

    `Y_c = sum_kl w_ckl R_k X_c S_l^T`, where R_k and S_l resize rows and columns and shift them by
    the k-th and l-th step of the kernel.

    Args:
        image: (N, C, h, w).
        weight: (C, 1, k, l), odd k and l, without bias.
        size: Height and width of the resized map and of the result.
        dilation: Pixels of the resized map between two steps of the kernel.
        align_corners: As `torch.nn.functional.interpolate` has it.

    Returns:
        (N, C, *size).

    >>> image = torch.tensor([[[[1.0, 3.0]]]])
    >>> kernel = torch.tensor([[[[1.0, 0.0, 0.0]]]])  # takes the pixel on the left
    >>> depthwise_of_resized(image, kernel, (1, 4), dilation=1, align_corners=False).flatten()
    tensor([0.0000, 1.0000, 1.5000, 2.5000])
    """
    count, channels, height, width = image.shape
    taps_down, taps_across = weight.shape[2:]
    # In half precision on a CPU torch's backward pass of depth-wise convolutions is slow.
    half_on_cpu = image.device.type == "cpu" and image.dtype.itemsize == 2
    if (height, width) == tuple(size) and not half_on_cpu:
        padding = (dilation * (taps_down // 2), dilation * (taps_across // 2))
        return F.conv2d(image, weight, padding=padding, dilation=dilation, groups=channels)
    down = resizing(height, size[0], like=image, align_corners=align_corners)
    across = resizing(width, size[1], like=image, align_corners=align_corners)
    rows = shifted(down, taps_down, dilation)
    columns = shifted(across, taps_across, dilation)
    kernel = weight.squeeze(1)
    # Columns first, with the kernel's weights: (C, w, k * W), the same for all images.
    mixing = torch.einsum("ckl,vwl->cwkv", kernel, columns).flatten(2)
    wide = torch.matmul(image, mixing).view(count * channels, height * taps_down, size[1])
    together = rows.flatten(1).expand(wide.shape[0], -1, -1)
    return torch.bmm(together, wide).view(count, channels, *size)


def pointwise(image: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution without bias, by the faster of torch's ways.

    On a CPU with one thread torch computes 1x1 convolutions in 32 bits without oneDNN, which takes
    about twice as long, unless they are dilated. A single step cannot be, so that nothing changes
    but the rounding.

    Args:
        image: (N, C, H, W).
        weight: (C', C, 1, 1).

    Returns:
        (N, C', H, W).
    """
    dilation = 2 if image.device.type == "cpu" and image.dtype == torch.float32 else 1
    return F.conv2d(image, weight, dilation=dilation)


def resizing(length: int, size: int, *, like: Tensor, align_corners: bool) -> Tensor:
    """The matrix (size, length) of linear resizing, with device and type of a tensor.

    >>> resizing(1, 2, like=torch.zeros(1), align_corners=False).tolist()
    [[1.0], [1.0]]
    """
    identity = torch.eye(length, device=like.device, dtype=like.dtype)
    if length == size:
        return identity
    resized = F.interpolate(identity[None], size, mode="linear", align_corners=align_corners)
    return resized[0].t()


def shifted(matrix: Tensor, taps: int, dilation: int) -> Tensor:
    """What each step of a kernel reads: (size, length, taps) of rows (size, length).

    Row i of step k is row `i + (k - taps // 2) dilation`, zeros where there is none.
    """
    size, reach = matrix.shape[0], dilation * (taps // 2)
    padded = F.pad(matrix, (0, 0, reach, reach))
    return torch.stack([padded[k * dilation : k * dilation + size] for k in range(taps)], -1)
