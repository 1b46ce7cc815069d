"""Triton kernels of FCN trunks and decoders, each with a torch twin that defines what it computes.

Inference only: none of the ops has a derivative.
"""

from __future__ import annotations

from fcnrt_kernels.conv import conv
from fcnrt_kernels.conv_first import conv_first
from fcnrt_kernels.decode import Refinement, choose_decoder, decode_labels
from fcnrt_kernels.score import score
from fcnrt_kernels.score_upsample_add import score_upsample_add
from fcnrt_kernels.upsample_argmax import upsample_argmax
from fcnrt_kernels.upsample_crop import upsample_crop

__all__ = [
    "Refinement",
    "choose_decoder",
    "conv",
    "conv_first",
    "decode_labels",
    "score",
    "score_upsample_add",
    "upsample_argmax",
    "upsample_crop",
]
