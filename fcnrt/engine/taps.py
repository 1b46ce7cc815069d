"""What a transposed convolution's weights really are: inspected, never assumed."""

from __future__ import annotations

import torch
from torch import Tensor

from fcnrt.models.upsampling import bilinear_kernel


def inspect_taps(weight: Tensor) -> Tensor | None:
    """The least that says the same as ``weight``, a transposed convolution's float32 ``[C,C,k,k]`` (in, out).

    Returns None when each class is upsampled bilinearly by itself, float32 ``[C,k,k]`` when each class has a filter of
    its own, and ``weight`` itself when classes mix. All three are exact.
    """
    channels, kernel = weight.shape[0], weight.shape[-1]
    own = torch.eye(channels, dtype=torch.bool, device=weight.device)
    if torch.count_nonzero(weight[~own]):
        return weight.contiguous()
    taps = weight[own]
    if torch.equal(taps, bilinear_kernel(kernel).to(weight.device).expand_as(taps)):
        return None
    return taps.contiguous()
