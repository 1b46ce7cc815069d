"""Ties, NaN and infinities: the kernels follow torch.argmax and torch.softmax, and nothing spreads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt_kernels import score_upsample_add, upsample_argmax, upsample_crop

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, at inf - inf

INF, NAN = float("inf"), float("nan")
KINDS = ("bilinear", "depthwise", "dense", "half_pixel")


def upsampling(kind: str, classes: int) -> dict[str, Any]:
    """4x6 pixels from 3x4 scores, by weights that keep the classes apart and whose products do not round."""
    if kind == "half_pixel":
        return {"rule": kind, "size": (4, 6)}
    window: dict[str, Any] = {"kernel": 4, "stride": 2, "offset": (2, 2), "size": (4, 6), "taps": None}
    if kind != "bilinear":
        own = torch.tensor([0.25, 0.75, 0.75, 0.25])
        window["taps"] = torch.outer(own, own).expand(classes, -1, -1).contiguous()
    if kind == "dense":
        window["taps"] = torch.diag_embed(window["taps"].permute(1, 2, 0)).permute(2, 3, 0, 1).contiguous()
    return window


def kernel_name(op: str, kind: str) -> str:
    return f"{op}_dense_kernel" if kind == "dense" else f"{op}_kernel"


@pytest.mark.parametrize(
    ("kind", "classes"), [("bilinear", 3), ("depthwise", 3), ("half_pixel", 3), ("dense", 3), ("dense", 70)]
)
def test_lowest_class_wins_a_tie(kind: str, classes: int, run: Any) -> None:
    """Of classes with equal scores: all of them, two that lie in different class tiles, the last two."""
    for winners in ([*range(classes)], [classes // 8, classes - 1], [classes - 2, classes - 1])[
        : 3 if classes < 9 else 2
    ]:
        scores = torch.randint(-3, 3, (1, 1, 3, 4)).float().repeat(1, classes, 1, 1)
        scores[:, [c for c in range(classes) if c not in winners]] -= 100
        labels = run(kernel_name("upsample_argmax", kind), upsample_argmax, scores, **upsampling(kind, classes))
        assert bool((labels == winners[0]).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", [(NAN,), (INF,), (-INF,), (INF, -INF), (NAN, INF), (NAN, NAN), (INF, INF)], ids=str)
def test_labels_and_confidence_are_those_of_torch(kind: str, values: tuple[float, ...], run: Any) -> None:
    """In one input pixel, at several places among the classes; pixels around it stay ordinary."""
    classes = 4
    how = upsampling(kind, classes)
    for first in (0, 2, 3):
        scores = torch.randn(1, classes, 3, 4)
        for index, value in enumerate(values):
            scores[0, (first + index) % classes, 0, 3] = value
        logits = run(kernel_name("upsample_crop", kind), upsample_crop, scores, **how)
        labels, confidence = run(kernel_name("upsample_argmax", kind), upsample_argmax, scores, confidence=True, **how)
        assert 0 < int(logits.isfinite().all(1).sum()) < logits[0, 0].numel()
        assert torch.equal(labels.long(), logits.argmax(1))
        probability = logits.softmax(1).amax(1)
        torch.testing.assert_close(confidence.float(), probability, rtol=0, atol=2**-11, equal_nan=True)


@pytest.mark.parametrize(("kind", "classes"), [("bilinear", 1), ("bilinear", 3), ("dense", 1), ("dense", 70)])
@pytest.mark.parametrize("value", [-INF, INF, NAN])
def test_every_class_is(value: float, kind: str, classes: int, run: Any) -> None:
    scores = torch.full((1, classes, 3, 4), value)
    labels, confidence = run(
        kernel_name("upsample_argmax", kind), upsample_argmax, scores, confidence=True, **upsampling(kind, classes)
    )
    assert not labels.any()
    assert bool(confidence.isnan().all())


def reached(kernel: int, stride: int, at: tuple[int, int], offset: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Which pixels of the window the taps of the input pixel ``at`` reach."""
    rows, columns = (
        (torch.arange(o, o + n) - i * stride >= 0) & (torch.arange(o, o + n) - i * stride < kernel)
        for i, o, n in zip(at, offset, size, strict=True)
    )
    return rows[:, None] & columns


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (16, 8), (63, 32)])
@pytest.mark.parametrize("kind", ["bilinear", "depthwise", "dense"])
def test_a_pixel_reaches_what_its_taps_reach(
    kind: str, kernel: int, stride: int, value: float, run: Any, only_phases: Any
) -> None:
    # The window ends beyond the reach: a tap that an odd kernel lacks, and an even one has, would touch it there.
    offset, size = (stride // 2, stride // 2 - 1), (3 * stride, 3 * stride + 1)
    scores = torch.zeros(1, 2, 3, 4)
    scores[0, 1, 1, 1] = value
    ran = torch.ones(size, dtype=torch.bool)
    taps = {"bilinear": None, "depthwise": torch.ones(2, kernel, kernel), "dense": torch.ones(2, 2, kernel, kernel)}
    if kind == "dense":
        last = stride - 1
        phases = range(4) if stride == 2 else [0, 3 * stride + last, last * stride + 3, last * stride + last]
        only_phases(phases)
        rows, columns = (torch.arange(o, o + n) % stride for o, n in zip(offset, size, strict=True))
        ran = torch.isin(rows[:, None] * stride + columns, torch.tensor(phases))
    window = {"kernel": kernel, "stride": stride, "offset": offset, "size": size, "taps": taps[kind]}
    logits = run(kernel_name("upsample_crop", kind), upsample_crop, scores, **window)
    finite = logits.isfinite().all(1)[0] if kind == "dense" else logits[0, 1].isfinite()
    expected = ~reached(kernel, stride, (1, 1), offset, size)
    assert torch.equal(finite[ran], expected[ran])
    if kind != "dense":
        assert not logits[0, 0].any()  # the other class saw nothing of it


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("size", [(3, 4), (3, 9), (7, 4), (5, 7)], ids=str)
@pytest.mark.parametrize("rule", ["half_pixel", "align_corners"])
def test_an_axis_that_keeps_its_size_spreads_nothing(rule: str, size: tuple[int, int], value: float, run: Any) -> None:
    """The second entry weighs nothing there, and torch does not read it."""
    scores = torch.randn(1, 2, 3, 4)
    scores[0, 1, 1, 2] = value
    logits = run("upsample_crop_kernel", upsample_crop, scores, rule=rule, size=size)
    expected = torch.nn.functional.interpolate(scores, size, mode="bilinear", align_corners=rule == "align_corners")
    torch.testing.assert_close(logits, expected, equal_nan=True)
    labels = run("upsample_argmax_kernel", upsample_argmax, scores, rule=rule, size=size)
    assert torch.equal(labels.long(), expected.argmax(1))


@pytest.mark.parametrize("kind", ["bilinear", "dense"])
def test_a_skip_pixel_reaches_its_own_output(kind: str, run: Any) -> None:
    skip = torch.zeros(1, 20, 6, 8)
    skip[0, 17, 3, 2] = NAN
    skip[0, 3, 4, 5] = INF
    scores = run(
        "score_upsample_add_kernel",
        score_upsample_add,
        torch.zeros(1, 3, 3, 4),
        skip,
        torch.ones(3, 20),
        torch.zeros(3),
        skip_offset=(1, 1),
        **upsampling(kind, 3),
    )
    special = torch.zeros(4, 6, dtype=torch.bool)
    special[2, 1] = special[3, 4] = True
    assert torch.equal(scores.isfinite(), ~special.expand(1, 3, -1, -1))
    assert bool(scores[0, :, 2, 1].isnan().all())
    assert bool((scores[0, :, 3, 4] == INF).all())


@pytest.mark.parametrize("kind", KINDS)
def test_confidence_of_large_scores(kind: str, run: Any) -> None:
    """The maximum is taken off before exp: scores that overflow it by themselves are ordinary."""
    scores = torch.tensor([900.0, 899.0, -900.0])[None, :, None, None].expand(1, 3, 4, 5)
    how = upsampling(kind, 3) | ({} if kind == "half_pixel" else {"size": (3, 4)})  # where the weights sum to one
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        labels, confidence = run(
            kernel_name("upsample_argmax", kind), upsample_argmax, scores[:, order], confidence=True, **how
        )
        assert bool((labels == order.index(0)).all())
        assert confidence.float().sub(1 / (1 + torch.e**-1)).abs().max() < 2**-11
