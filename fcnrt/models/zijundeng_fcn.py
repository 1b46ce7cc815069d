"""FCN-16s of zijundeng/pytorch-semantic-segmentation: the authors', with at-once's scale on the skip.

Source: ``models/fcn16s.py``. The program's FCN-32s is the authors', and its FCN-8s is their FCN-8s-at-once.
"""

from __future__ import annotations

from dataclasses import replace

from fcnrt.models.vgg_fcn import VGGFCN, FCN8sAtOnce, FCN16s


class ZijundengFCN16s(VGGFCN):
    """FCN-16s that scores a hundredth of pool4 (the same parameters as FCN-16s)."""

    DECODER = replace(FCN16s.DECODER, stages=FCN8sAtOnce.DECODER.stages[:1])
