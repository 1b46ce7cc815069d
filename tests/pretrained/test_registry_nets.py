"""The nets that the registry names are nets that there are, built with its options, fed by its conventions."""

from __future__ import annotations

import pytest

from fcnrt.checkpoints.classifiers import CLASSIFIERS
from fcnrt.models import ARCHITECTURES
from fcnrt.models.registry import check_options, create_skeleton
from fcnrt.preprocessing import PRESETS
from fcnrt.pretrained import REGISTRY


@pytest.mark.parametrize("name", REGISTRY)
def test_entries_are_nets_that_there_are(name: str) -> None:
    entry = REGISTRY[name]
    if entry.kind == "classifier":
        assert any(family.name.lower().rstrip("0123456789") in entry.arch.replace("_", "-") for family in CLASSIFIERS)
        return
    assert entry.arch in ARCHITECTURES
    check_options(entry.arch, entry.options)
    net = create_skeleton(entry.arch, entry.num_classes, width=1 / 64, **entry.options)
    assert next(iter(net.head_classes.values())) == entry.num_classes
    assert entry.normalization in PRESETS.values()
    assert entry.normalization.channels == net.in_channels  # type: ignore[union-attr]  # the line before says so


def test_options_are_those_that_openmmlabs_names_say() -> None:
    entry = REGISTRY["fcn_d6_r50b-d16_769x769_80k_cityscapes"]
    assert (entry.arch, entry.options) == (
        "mmseg-fcn-resnet50",
        {"output_stride": 16, "head_dilation": 6, "align_corners": True},
    )
    assert REGISTRY["fcn_r101-d8_fp16_512x1024_80k_cityscapes"].options == {
        "output_stride": 8,
        "head_dilation": 1,
        "align_corners": False,
    }
