"""The table of layouts against what it refers to: architectures, their options, normalizations, patterns."""

from __future__ import annotations

import re

import pytest

from fcnrt.checkpoints.layout import Layout, archs_of
from fcnrt.checkpoints.layouts import LAYOUTS
from fcnrt.models import ARCHITECTURES
from fcnrt.preprocessing import PRESETS

ROWS = [layout for layout in LAYOUTS if not layout.refusal]

OWN_DEFINITIONS = re.compile(r"fcn-alexnet-torchvision|fcn-googlenet|fcn(32|16|8)s-resnet\d+")
"""Networks that nobody else saves: they come from classifiers, in fcnrt's own format."""


@pytest.mark.parametrize("layout", ROWS, ids=lambda layout: layout.name)
def test_rows_refer_to_what_exists(layout: Layout) -> None:
    assert layout.archs and layout.class_keys and layout.width_keys
    assert {layout.normalization, *layout.normalizations.values()} <= PRESETS.keys()
    for rule in layout.archs:
        known = ARCHITECTURES[rule.arch].options
        assert {*rule.options, *rule.counts, *(unsaid.option for unsaid in rule.unsaid)} <= known.keys()
        assert rule.normalization in {"", *PRESETS}
        for told in rule.told:
            assert told.why and rule.steps_with({told.option: 0.5}) != rule.steps
        for unsaid in rule.unsaid:
            values = (unsaid.default, *unsaid.noted.values(), *unsaid.named.values())
            assert {type(value) for value in values} == {type(known[unsaid.option])}
            assert unsaid.default == known[unsaid.option] and unsaid.why


def test_every_architecture_is_read_from_somewhere() -> None:
    unread = set(ARCHITECTURES) - set(archs_of(ROWS))
    assert {arch for arch in unread if not OWN_DEFINITIONS.fullmatch(arch)} == set()


def test_names_of_classes_fit_their_counts() -> None:
    for layout in ROWS:
        for count, names in layout.class_names.items():
            assert len(names) == count == len(set(names))
