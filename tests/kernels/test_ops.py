"""The ops as torch sees them on the CPU: registered, compiled, exported; their twins; what they refuse."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt_kernels import (
    Refinement,
    checks,
    choose_decoder,
    decode_labels,
    reference,
    score_upsample_add,
    upsample_argmax,
    upsample_crop,
)

NAN, INF = float("nan"), float("inf")
NEEDS_CPP = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")

WINDOW: dict[str, Any] = {"kernel": 4, "stride": 2, "offset": (1, 2), "size": (5, 4)}
TAPS: dict[str, Any] = {
    "bilinear": lambda classes, kernel: None,
    "depthwise": lambda classes, kernel: torch.randn(classes, kernel, kernel),
    "dense": lambda classes, kernel: torch.randn(classes, classes, kernel, kernel),
}


def scores_of(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape).to(dtype)


def skip_of(
    batch: int, classes: int, channels: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """A skip, and the weight and bias of its score layer."""
    return (
        scores_of(batch, channels, 8, 7, dtype=dtype),
        scores_of(classes, channels, dtype=dtype),
        torch.randn(classes),
    )


def decoder_args(kind: str, skips: int) -> tuple[Any, ...]:
    """Arguments of ``decode_labels``: 3 classes, 5 channels a skip."""
    features, weights, biases = zip(*(skip_of(2, 3, 5) for _ in range(2)), strict=True)
    levels = skips + 1
    return (
        scores_of(2, 3, 4, 3),
        [*features[:skips]],
        [*weights[:skips]],
        [*biases[:skips]],
        [0.5] * skips,
        [2, 1] * skips,
        [TAPS[kind](3, 4) for _ in range(levels)],
        [4] * levels,
        [2] * levels,
        [1, 2] * levels,
        [5, 4] * levels,
        ["transposed"] * levels,
    )


def problems() -> list[Any]:
    """Arguments of the registered ops, in the order of their schemas."""
    found = []
    rest = [[1, 2], [5, 4]]
    for kind, make in TAPS.items():
        for dtype, batch, classes in ((torch.float32, 3, 5), (torch.bfloat16, 1, 1), (torch.float16, 0, 2)):
            scores = scores_of(batch, classes, 4, 3, dtype=dtype)
            upsampling = (make(classes, 4), 4, 2, *rest, "transposed")
            name = f"{kind}-{str(dtype)[6:]}-{batch}x{classes}"
            for op in ("upsample_crop", "upsample_argmax", "upsample_argmax_confidence"):
                found.append(pytest.param(op, (scores, *upsampling), id=f"{op}-{name}"))
            skip = skip_of(batch, classes, 6, dtype)
            args = (scores.float(), *skip, make(classes, 4), 4, 2, [1, 2], [2, 1], [5, 4], 0.5, "transposed")
            found.append(pytest.param("score_upsample_add", args, id=f"score_upsample_add-{name}"))
    last = scores_of(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    for rule in ("half_pixel", "align_corners", "nearest"):
        found.append(pytest.param("upsample_crop", (last, None, 1, 1, [0, 0], [7, 9], rule), id=f"crop-{rule}"))
    wide = torch.randn(1, 300, 2, 2)
    found.append(pytest.param("upsample_argmax", (wide, None, 4, 2, [1, 1], [3, 3], "transposed"), id="300-classes"))
    found += [
        pytest.param(op, decoder_args(kind, skips), id=f"{op}-{kind}-{skips}")
        for op in ("decode_labels", "decode_labels_confidence")
        for kind, skips in (("bilinear", 2), ("dense", 1), ("depthwise", 0))
    ]
    # Whole rows of one class: a slice of them is contiguous, and only its place in memory tells that it is a slice.
    rows = (torch.randn(1, 1, 4, 3), torch.randn(1, 4, 4), 4, 2, [1, 0], [5, 8], "transposed")
    found.append(pytest.param("upsample_crop", rows, id="whole-rows"))
    return found


@pytest.mark.parametrize(("op", "args"), problems())
def test_opcheck(op: str, args: tuple[Any, ...]) -> None:
    torch.library.opcheck(getattr(torch.ops.fcnrt, op).default, args)


class Decode(torch.nn.Module):
    """Two stages as an engine would chain them; both kinds of weights, both outputs."""

    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("taps", torch.randn(3, 4, 4))

    def forward(self, coarse: Tensor, skip: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        fine = score_upsample_add(
            coarse, skip, weight, bias, kernel=4, stride=2, offset=(1, 0), skip_offset=(2, 1), size=(6, 5)
        )
        height, width = 3 * fine.shape[2] - 1, 20
        how: dict[str, Any] = {"kernel": 8, "stride": 4, "offset": (3, 1), "size": (height, width)}
        labels, confidence = upsample_argmax(fine, confidence=True, **how)
        logits = upsample_crop(fine, taps=self.taps, kernel=4, stride=2, offset=(0, 1), size=(9, 8))
        return labels, confidence, logits, upsample_crop(fine, size=(height, width), rule="half_pixel")


def decode_inputs(batch: int = 2) -> tuple[Tensor, ...]:
    return (scores_of(batch, 3, 4, 3), *skip_of(batch, 3, 5))


@pytest.mark.parametrize(
    ("backend", "dynamic"),
    [("aot_eager", False), ("aot_eager", True), pytest.param("inductor", False, marks=NEEDS_CPP)],
)
def test_compile_without_graph_breaks(backend: str, dynamic: bool) -> None:
    torch.compiler.reset()
    module = Decode()
    compiled = torch.compile(module, fullgraph=True, backend=backend, dynamic=dynamic)
    for batch in (2, 3):
        inputs = decode_inputs(batch)
        for result, expected in zip(compiled(*inputs), module(*inputs), strict=True):
            torch.testing.assert_close(result, expected)


def test_export_round_trip(tmp_path: Any) -> None:
    module, inputs = Decode(), decode_inputs()
    batch = torch.export.Dim("batch", min=1, max=64)
    dynamic = ({0: batch}, {0: batch}, None, None)
    program = torch.export.export(module, inputs, dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / "decode.pt2")
    loaded = torch.export.load(tmp_path / "decode.pt2")
    names = {str(node.target) for node in loaded.graph.nodes}
    assert {"fcnrt.score_upsample_add.default", "fcnrt.upsample_argmax_confidence.default"} <= names
    for size in (2, 5):
        inputs = decode_inputs(size)
        for result, expected in zip(loaded.module()(*inputs), module(*inputs), strict=True):
            torch.testing.assert_close(result, expected)


def test_no_derivative_is_said_not_guessed() -> None:
    logits = upsample_crop(scores_of(1, 2, 4, 3).requires_grad_(), **WINDOW)
    with pytest.raises(RuntimeError, match=r"backward through fcnrt.upsample_crop.default but no autograd formula"):
        logits.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped


# The twins


@pytest.mark.parametrize(
    ("kernel", "stride", "dtype"),
    [
        (4, 2, torch.float32),
        (16, 8, torch.float16),
        (32, 16, torch.bfloat16),
        (64, 32, torch.float32),
        (63, 32, torch.float16),
        (5, 2, torch.bfloat16),
        (3, 3, torch.float32),
        (7, 2, torch.float32),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", TAPS)
def test_twins_against_float64(
    kernel: int, stride: int, kind: str, dtype: torch.dtype, compose: Any, compose_score: Any
) -> None:
    """Whole maps and windows in their middle, also for kernels that no FCN has."""
    classes, channels = 3, 6
    scores = scores_of(2, classes, 3, 4, dtype=dtype)
    full = [(edge - 1) * stride + kernel for edge in (3, 4)]
    for offset, size in (([0, 0], full), ([stride - 1, stride // 2], [full[0] - stride, stride + 1])):
        how: dict[str, Any] = {"taps": TAPS[kind](classes, kernel), "kernel": kernel, "stride": stride}
        how |= {"offset": offset, "size": size}
        expected = compose(scores, **how)
        result = upsample_crop(scores, **how)
        assert result.dtype == torch.float32
        assert (result - expected).abs().max() <= 1e-6 * expected.abs().max()
        labels, confidence = upsample_argmax(scores, confidence=True, **how)
        chosen = expected.gather(1, labels.long()[:, None])[:, 0]
        assert (expected.amax(1) - chosen).max() <= 2e-6 * expected.abs().max()
        assert (confidence.double() - expected.softmax(1).amax(1)).abs().max() <= 2**-11
        skip = scores_of(2, channels, size[0] + 3, size[1] + 2, dtype=dtype)
        weight, bias = scores_of(classes, channels, dtype=dtype), torch.randn(classes)
        expected = compose_score(scores, skip, weight, bias, skip_offset=(2, 1), scale=0.01, **how)
        result = score_upsample_add(scores, skip, weight, bias, skip_offset=(2, 1), scale=0.01, **how)
        assert (result - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("rule", ["half_pixel", "align_corners", "nearest"])
def test_interpolating_twins_against_float64(rule: str, compose: Any) -> None:
    for size in ((1, 1), (3, 4), (2, 9), (17, 23)):
        scores = scores_of(2, 3, 3, 4)
        expected = compose(scores, rule=rule, size=size)
        result = upsample_crop(scores, rule=rule, size=size)
        assert (result - expected).abs().max() <= 2e-6 * expected.abs().max()
        assert torch.equal(upsample_argmax(scores, rule=rule, size=size).long(), result.argmax(1))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (16, 8), (63, 32), (5, 2)])
@pytest.mark.parametrize("kind", TAPS)
def test_a_special_value_stays_where_its_taps_reach(kind: str, kernel: int, stride: int, value: float) -> None:
    scores = torch.zeros(1, 2, 4, 5)
    scores[0, 1, 1, 2] = value
    taps = TAPS[kind](2, kernel)
    size = [(edge - 1) * stride + kernel for edge in (4, 5)]
    logits = upsample_crop(scores, taps=taps, kernel=kernel, stride=stride, offset=(0, 0), size=size)
    expected = torch.ones(size, dtype=torch.bool)
    expected[stride : stride + kernel, 2 * stride : 2 * stride + kernel] = False
    assert torch.equal(logits[0, 1].isfinite(), expected)
    assert torch.equal(logits[0, 0].isfinite(), expected if kind == "dense" else torch.ones_like(expected))


def test_ties_and_nan_of_twins() -> None:
    scores = torch.zeros(1, 4, 3, 3)
    assert not upsample_argmax(scores, **WINDOW | {"size": (3, 3)}).any()
    scores[:, 2] = NAN
    labels, confidence = upsample_argmax(scores, confidence=True, **WINDOW | {"size": (3, 3)})
    assert bool((labels == 2).all())
    assert bool(confidence.isnan().all())


@pytest.mark.parametrize("how", [WINDOW, {"size": (5, 4), "rule": "half_pixel"}], ids=["transposed", "half_pixel"])
def test_an_empty_batch_gives_empty_results(how: dict[str, Any]) -> None:
    scores = torch.zeros(0, 3, 4, 3)
    assert upsample_crop(scores, **how).shape == (0, 3, 5, 4)
    labels, confidence = upsample_argmax(scores, confidence=True, **how)
    assert labels.shape == confidence.shape == (0, 5, 4)


def test_labels_leave_255_free() -> None:
    for classes, dtype in ((1, torch.uint8), (255, torch.uint8), (256, torch.int32)):
        scores = torch.zeros(1, classes, 3, 3)
        scores[:, -1] = 1
        labels = upsample_argmax(scores, **WINDOW | {"size": (2, 2)})
        assert labels.dtype == dtype
        assert bool((labels == classes - 1).all())


# Writing into the caller's buffers


def test_out_is_written_and_returned() -> None:
    scores, skip = scores_of(2, 3, 4, 3), skip_of(2, 3, 5)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        out = torch.full((2, 3, 5, 4), NAN, dtype=dtype).contiguous(memory_format=torch.channels_last)
        assert upsample_crop(scores, out=out, **WINDOW) is out
        torch.testing.assert_close(out, upsample_crop(scores, **WINDOW).to(dtype))
        out.fill_(NAN)
        assert score_upsample_add(scores, *skip, skip_offset=(2, 1), out=out, **WINDOW) is out
        torch.testing.assert_close(out, score_upsample_add(scores, *skip, skip_offset=(2, 1), **WINDOW).to(dtype))
    labels = torch.full((2, 5, 9), 255, dtype=torch.uint8)[:, :, 1::2]
    assert upsample_argmax(scores, out=labels, **WINDOW) is labels
    assert torch.equal(labels, upsample_argmax(scores, **WINDOW))
    for dtype in (torch.float16, torch.float32):
        probability = torch.full((2, 5, 4), NAN, dtype=dtype)
        labels.fill_(255)
        result = upsample_argmax(scores, confidence=True, out=(labels, probability), **WINDOW)
        assert result[0] is labels
        assert result[1] is probability
        expected = upsample_argmax(scores, confidence=True, **WINDOW)
        assert torch.equal(labels, expected[0])
        assert torch.equal(probability.half(), expected[1])
        assert torch.equal(probability, upsample_crop(scores, **WINDOW).softmax(1).amax(1).to(dtype))  # rounded once


def test_out_is_written_in_a_compiled_graph() -> None:
    torch.compiler.reset()
    scores, skip = scores_of(2, 3, 4, 3), skip_of(2, 3, 5)

    def decode(scores: Tensor, logits: Tensor, labels: Tensor, probability: Tensor) -> Tensor:
        fine = score_upsample_add(scores, *skip, skip_offset=(2, 1), out=logits, **WINDOW)
        upsample_argmax(fine, size=(7, 9), rule="half_pixel", confidence=True, out=(labels, probability))
        return upsample_crop(scores, out=logits, **WINDOW) * 2

    def buffers() -> tuple[Tensor, ...]:
        return torch.full((2, 3, 5, 4), NAN), torch.full((2, 7, 9), 255, dtype=torch.uint8), torch.full((2, 7, 9), NAN)

    expected, result = buffers(), buffers()
    doubled = torch.compile(decode, fullgraph=True, backend="aot_eager")(scores, *result)
    assert torch.equal(doubled, decode(scores, *expected))
    assert all(map(torch.equal, result, expected))


def test_decode_labels_is_the_ops_after_each_other() -> None:
    scores, skip = scores_of(2, 3, 4, 3), skip_of(2, 3, 5)
    level = Refinement(*skip, skip_offset=(2, 1), scale=0.5, **WINDOW)
    fine = score_upsample_add(scores, *skip, skip_offset=(2, 1), scale=0.5, **WINDOW)
    final: dict[str, Any] = {"kernel": 8, "stride": 4, "offset": (3, 1), "size": (13, 11)}
    labels, probability = decode_labels(scores, [level], confidence=True, **final)
    expected = upsample_argmax(fine, confidence=True, **final)
    assert torch.equal(labels, expected[0])
    assert torch.equal(probability, expected[1])
    assert torch.equal(
        decode_labels(scores, [], **final | {"size": (7, 5)}), upsample_argmax(scores, **final | {"size": (7, 5)})
    )


def test_how_many_launches_a_decoder_takes() -> None:
    level = Refinement(*skip_of(2, 3, 5), skip_offset=(2, 1), **WINDOW)
    resized = replace(level, rule="half_pixel", offset=(0, 0))
    assert choose_decoder([level, level])[0] == "one"
    assert choose_decoder([], "half_pixel")[0] == "one"
    assert choose_decoder([level] * 3) == ("several", "3 skips; one launch takes up to two")
    assert choose_decoder([resized, level])[1].endswith("by half_pixel interpolation")
    assert choose_decoder([level], "nearest")[0] == "several"


def test_a_decoder_says_which_level_is_wrong() -> None:
    level = Refinement(*skip_of(2, 3, 5), skip_offset=(2, 1), **WINDOW)
    wrong = replace(level, skip_offset=(4, 1))
    with pytest.raises(ValueError, match="refinement 1: the crop takes rows 4 to 9 of a skip that has 8"):
        decode_labels(scores_of(2, 3, 4, 3), [level, wrong], **WINDOW)
    with pytest.raises(ValueError, match="the last upsampling: the window takes rows 9 to 14 of an upsampled map"):
        decode_labels(scores_of(2, 3, 4, 3), [level], **WINDOW | {"offset": (9, 2)})
    with pytest.raises(ValueError, match="expected a tuple"):
        decode_labels(scores_of(2, 3, 4, 3), [level], **WINDOW, confidence=True, out=torch.zeros(2, 5, 4).byte())


@pytest.mark.parametrize(
    ("size", "taps"),
    [((1 << 16, 1 << 15), None), ((3, 3), torch.empty(3000, 3000, 16, 16, device="meta"))],
    ids=["pixels", "taps"],
)
def test_what_passes_the_kernels_counters_is_refused(size: tuple[int, int], taps: Tensor | None) -> None:
    scores = torch.empty(1, 3000, 1 << 13, 1 << 12, device="meta")
    with pytest.raises(ValueError, match="the kernels count up to 2\\^31"):
        checks.check_upsampling(scores, taps, 16, 8, (0, 0), size, "transposed")


# What is refused

REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    (
        "scores-3d",
        lambda: upsample_crop(torch.zeros(3, 4, 3), **WINDOW),
        "scores has shape [3, 4, 3]; expected [N, classes, height, width]",
    ),
    (
        "scores-float64",
        lambda: upsample_argmax(torch.zeros(1, 3, 4, 3).double(), **WINDOW),
        "scores is torch.float64; expected float32, float16 or bfloat16",
    ),
    (
        "scores-integer",
        lambda: upsample_argmax(torch.zeros(1, 3, 4, 3).int(), **WINDOW),
        "scores is torch.int32; expected float32, float16 or bfloat16",
    ),
    (
        "rule",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), size=(5, 5), rule="bicubic"),
        "unknown rule 'bicubic'; expected 'transposed', 'half_pixel', 'align_corners', 'nearest'",
    ),
    (
        "rule-with-taps",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), size=(5, 5), rule="nearest", taps=torch.zeros(3, 1, 1)),
        "nearest interpolation takes [1, 3, 4, 3] scores, offset [0, 0] to [5, 5] with taps; expected scores, no",
    ),
    (
        "rule-with-offset",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), size=(5, 5), rule="half_pixel", offset=(0, 1)),
        "half_pixel interpolation takes [1, 3, 4, 3] scores, offset [0, 1] to [5, 5]; expected scores, no offset",
    ),
    (
        "gaps",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), **WINDOW | {"kernel": 1}),
        "kernel 1 with stride 2 leaves gaps; expected kernel >= stride >= 1",
    ),
    (
        "stride-0",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), **WINDOW | {"stride": 0}),
        "kernel 4 with stride 0 leaves gaps",
    ),
    (
        "before-the-map",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), **WINDOW | {"offset": (-1, 0)}),
        "the window takes rows -1 to 4 of an upsampled map that has 10; expected a window of at least one inside",
    ),
    (
        "past-the-map",
        lambda: upsample_argmax(scores_of(1, 3, 4, 3), **WINDOW | {"offset": (1, 5)}),
        "the window takes columns 5 to 9 of an upsampled map that has 8; expected",
    ),
    (
        "no-window",
        lambda: upsample_argmax(scores_of(1, 3, 4, 3), **WINDOW | {"size": (5, 0)}),
        "the window takes columns 2 to 2 of an upsampled map that has 8; expected a window of at least one",
    ),
    (
        "taps-shape",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), taps=torch.zeros(2, 4, 4), **WINDOW),
        "taps have shape [2, 4, 4]; expected [3, 4, 4] (one filter a class), [3, 3, 4, 4] (in, out, rows, columns)",
    ),
    (
        "taps-type",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), taps=torch.zeros(3, 4, 4).half(), **WINDOW),
        "taps are torch.float16, strides (16, 4, 1); expected contiguous float32",
    ),
    (
        "taps-strides",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), taps=torch.zeros(3, 4, 4).mT, **WINDOW),
        "taps are torch.float32, strides (16, 1, 4); expected contiguous float32",
    ),
    (
        "no-scores",
        lambda: upsample_crop(torch.zeros(1, 3, 0, 3), **WINDOW | {"size": (1, 4)}),
        "scores has shape [1, 3, 0, 3]",
    ),
    (
        "no-classes",
        lambda: upsample_argmax(torch.zeros(1, 0, 4, 3), **WINDOW),
        "scores has shape [1, 0, 4, 3]",
    ),
    (
        "out-shape",
        lambda: upsample_crop(scores_of(1, 3, 4, 3), out=torch.zeros(1, 3, 5, 5), **WINDOW),
        "out is torch.float32 [1, 3, 5, 5] on cpu; expected torch.float32 or torch.float16 or torch.bfloat16",
    ),
    (
        "out-type",
        lambda: upsample_argmax(scores_of(1, 3, 4, 3), out=torch.zeros(1, 5, 4).int(), **WINDOW),
        "out is torch.int32 [1, 5, 4] on cpu; expected torch.uint8 [1, 5, 4] on cpu",
    ),
    (
        "out-type-of-many-classes",
        lambda: upsample_argmax(scores_of(1, 256, 4, 3), out=torch.zeros(1, 5, 4).byte(), **WINDOW),
        "out is torch.uint8 [1, 5, 4] on cpu; expected torch.int32 [1, 5, 4] on cpu",
    ),
    (
        "out-of-confidence",
        lambda: upsample_argmax(
            scores_of(1, 3, 4, 3), confidence=True, out=(torch.zeros(1, 5, 4).byte(), torch.zeros(1, 5, 3)), **WINDOW
        ),
        "out is torch.float32 [1, 5, 3] on cpu; expected torch.float16 or torch.float32 [1, 5, 4] on cpu",
    ),
    (
        "labels-alone-for-confidence",
        lambda: upsample_argmax(scores_of(1, 3, 4, 3), confidence=True, out=torch.zeros(1, 5, 4).byte(), **WINDOW),
        "expected a tuple",
    ),
    (
        "one-buffer-for-confidence",
        lambda: upsample_argmax(scores_of(1, 3, 4, 3), confidence=True, out=(torch.zeros(1, 5, 4).byte(),), **WINDOW),
        "expected a tuple",
    ),
]


def score_with(**changed: Any) -> Tensor:
    skip, weight, bias = skip_of(1, 3, 6)
    arguments = {"coarse": scores_of(1, 3, 4, 3), "skip": skip, "weight": weight, "bias": bias, "skip_offset": (2, 1)}
    return score_upsample_add(**arguments | WINDOW | changed)  # type: ignore[arg-type]


REFUSED_SCORES: list[tuple[str, dict[str, Any], str]] = [
    ("skip-3d", {"skip": torch.zeros(6, 8, 7)}, "skip has shape [6, 8, 7]; expected [N, classes, height, width]"),
    ("batch", {"skip": torch.zeros(2, 6, 8, 7)}, "skip has batch 2, coarse has 1; expected the same"),
    (
        "weight-shape",
        {"weight": torch.zeros(3, 5)},
        "the score layer has weight [3, 5] and bias [3]; expected [3, 6] (classes, skip channels) and [3]",
    ),
    ("weight-4d", {"weight": torch.zeros(3, 6, 1, 1)}, "the score layer has weight [3, 6, 1, 1] and bias [3]"),
    ("bias-strides", {"bias": torch.zeros(6)[::2]}, "expected contiguous"),
    ("bias-type", {"bias": torch.zeros(3, dtype=torch.int32)}, "torch.int32"),
    ("bias-shape", {"bias": torch.zeros(1)}, "the score layer has weight [3, 6] and bias [1]; expected [3, 6]"),
    (
        "weight-type",
        {"weight": torch.zeros(3, 6).half()},
        "weight is torch.float16, strides (6, 1); expected contiguous torch.float32, as skip is",
    ),
    ("weight-strides", {"weight": torch.zeros(6, 3).T}, "weight is torch.float32, strides (1, 3); expected contiguous"),
    ("crop", {"skip_offset": (4, 1)}, "the crop takes rows 4 to 9 of a skip that has 8"),
    ("crop-before", {"skip_offset": (0, -1)}, "the crop takes columns -1 to 3 of a skip that has 7"),
]


@pytest.mark.parametrize(("call", "message"), [entry[1:] for entry in REFUSED], ids=[entry[0] for entry in REFUSED])
def test_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("changed", "message"), [entry[1:] for entry in REFUSED_SCORES], ids=[entry[0] for entry in REFUSED_SCORES]
)
def test_refused_scores(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        score_with(**changed)


def test_devices_must_be_the_same() -> None:
    """Asked of the checks themselves: an op with an argument on ``meta`` is not run at all."""
    scores, (skip, weight, bias), taps = scores_of(1, 3, 4, 3), skip_of(1, 3, 6), torch.zeros(3, 4, 4, device="meta")
    with pytest.raises(ValueError, match="taps are on meta, scores on cpu; expected the same device"):
        checks.check_upsampling(scores, taps, 4, 2, (1, 2), (5, 4), "transposed")
    for place, name in enumerate(("skip", "weight", "bias")):
        tensors: list[Any] = [skip, weight, bias]
        tensors[place] = tensors[place].to("meta")
        with pytest.raises(ValueError, match=f"{name} is on meta, coarse on cpu; expected the same device"):
            checks.check_skip(scores, tensors[0], tensors[1], tensors[2], (2, 1), (5, 4))
    with pytest.raises(ValueError, match=r"out is torch.float32 \[1, 3, 5, 4\] on meta; expected"):
        upsample_crop(scores, out=torch.zeros(1, 3, 5, 4, device="meta"), **WINDOW)


def test_nothing_is_written_before_all_is_checked() -> None:
    out = torch.full((1, 3, 5, 4), NAN)
    with pytest.raises(ValueError, match="the crop takes rows"):
        score_with(skip_offset=(9, 9), out=out)
    assert bool(out.isnan().all())


def test_twins_have_the_arguments_of_their_ops() -> None:
    """Positionally, in the order of the schemas: this is how the ops call them."""
    names = ("upsample_crop", "upsample_argmax", "upsample_argmax_confidence", "score_upsample_add")
    for name in (*names, "decode_labels", "decode_labels_confidence"):
        schema = getattr(torch.ops.fcnrt, name).default._schema
        code = getattr(reference, name).__code__
        assert [argument.name for argument in schema.arguments] == list(code.co_varnames[: code.co_argcount])
