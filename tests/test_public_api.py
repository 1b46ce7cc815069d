"""The public surface, written out: a name that comes or goes is a decision, not an accident."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import fcnrt
import fcnrt_kernels

PUBLIC: dict[ModuleType, set[str]] = {
    fcnrt: {
        "CheckpointError",
        "DeviceError",
        "DownloadError",
        "FcnrtError",
        "ImageError",
        "InputError",
        "ModelSpec",
        "Normalization",
        "Segmentation",
        "Segmenter",
        "__version__",
        "convolutionalize",
        "load",
    },
    fcnrt_kernels: {
        "Refinement",
        "choose_decoder",
        "conv",
        "conv_first",
        "decode_labels",
        "score",
        "score_upsample_add",
        "upsample_argmax",
        "upsample_crop",
    },
}


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_names_are_the_listed_ones(module: ModuleType) -> None:
    assert sorted(module.__all__) == sorted(PUBLIC[module])


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_every_name_is_there_and_documented(module: ModuleType) -> None:
    for name in set(module.__all__) - {"__version__"}:
        value = getattr(module, name)
        assert inspect.getdoc(value), f"{module.__name__}.{name} has no docstring"
        assert name in dir(module)


def test_errors_share_one_base() -> None:
    errors = [getattr(fcnrt, name) for name in fcnrt.__all__ if name.endswith("Error")]
    assert len(errors) == 6
    assert all(issubclass(error, fcnrt.FcnrtError) for error in errors)
