"""Bilinear interpolation written as the weights of a transposed convolution.

Source: ``surgery.py:upsample_filt`` of shelhamer/fcn.berkeleyvision.org, and ``get_upsampling_weight`` of
wkentaro/pytorch-fcn (paper section 3.3, "Upsampling is backwards strided convolution").
"""

from __future__ import annotations

import torch
from torch import Tensor


def bilinear_taps(kernel_size: int) -> Tensor:
    """The one-dimensional bilinear filter: float64 ``[kernel_size]``, largest in the middle."""
    factor = (kernel_size + 1) // 2
    center = factor - 1 if kernel_size % 2 else factor - 0.5
    return 1 - (torch.arange(kernel_size, dtype=torch.float64) - center).abs() / factor


def bilinear_kernel(kernel_size: int) -> Tensor:
    """The two-dimensional bilinear filter: float32 ``[kernel_size, kernel_size]``."""
    taps = bilinear_taps(kernel_size)
    return torch.outer(taps, taps).float()


def bilinear_weight(channels: int, kernel_size: int) -> Tensor:
    """A transposed convolution that upsamples each channel by itself.

    Returns float32 ``[channels, channels, kernel_size, kernel_size]`` (in, out, rows, columns): the bilinear
    filter on the channel diagonal and zero elsewhere, as Caffe's ``Deconvolution`` layers of the originals hold.
    """
    weight = torch.zeros(channels, channels, kernel_size, kernel_size)
    if weight.is_meta:  # shapes alone are asked for, and torch would import its whole compiler to fill them
        return weight
    weight[range(channels), range(channels)] = bilinear_kernel(kernel_size)
    return weight
