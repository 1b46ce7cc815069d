"""wkentaro/fcn: what ``chainer.serializers.save_npz`` writes of the authors' nets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.publishers.caffe import decode, decoder_layers, trunk, trunk_layers
from tests.publishers.conftest import Proof
from tests.publishers.vgg import CLASSES


@pytest.mark.proves("chainer fcn", "fcn32s")
@pytest.mark.proves("chainer fcn", "fcn16s")
@pytest.mark.proves("chainer fcn", "fcn8s")
@pytest.mark.proves("chainer fcn", "fcn8s-atonce")
@pytest.mark.parametrize(
    ("prefix", "biased"),
    [("", False), ("updater/model:main/", False), ("", True)],
    ids=["model", "snapshot", "before June 2017"],
)
def test_npz(proof: Proof, prefix: str, biased: bool, tmp_path: Path) -> None:
    """Its pools round up (``cover_all``), and its nets are told by the file's name, as its own scripts do.

    Its deconvolutions once had biases; the last one's is zero here, as it starts.
    """
    layers = trunk_layers() | decoder_layers(proof.arch)
    if biased:
        *inner, last = [name for name in layers if name.startswith("upscore")]
        layers |= {name: (*layers[name], torch.randn(CLASSES)) for name in inner}
        layers[last] = (*layers[last], torch.zeros(CLASSES))
    entries = {
        f"{prefix}{name}/{leaf}": blob.numpy()
        for name, blobs in layers.items()
        for leaf, blob in zip("Wb", blobs, strict=False)
    }
    path = tmp_path / f"{proof.arch}_from_caffe.npz"
    np.savez_compressed(path, allow_pickle=False, **entries)
    proof.compare(path, lambda x: decode(proof.arch, layers, trunk(layers, x), x), sizes=((1, 1), (33, 47)))
