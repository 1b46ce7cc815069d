"""Many sizes and many threads on the device: results stay right, and memory stays where it is."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from benchmarks import nets
from fcnrt.measuring import relative_error

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

SLIM = 1 / 16

Record = Callable[[str, object], None]


@pytest.mark.parametrize("eighth", range(8))
def test_random_sizes_leave_no_memory_behind(eighth: int, cuda: torch.device, record_property: Record) -> None:
    """An eighth of a thousand sizes, each right, and memory after the last is about what it was after fifty."""
    model = nets.seeded_segmenter(cuda, torch.float32, SLIM)
    reference = nets.seeded_net(cuda, SLIM)
    draw = random.Random(eighth)
    held, worst = 0, 0.0
    for index in range(125):
        if index == 50:
            torch.cuda.synchronize(cuda)
            held = torch.cuda.memory_reserved(cuda)
        x = nets.image.__wrapped__(index, draw.randint(1, 200), draw.randint(1, 200)).to(cuda)
        with torch.inference_mode():
            scores, expected = model(x), reference(x)
        worst = max(worst, relative_error(scores, expected))
    torch.cuda.synchronize(cuda)
    grown = torch.cuda.memory_reserved(cuda) - held
    record_property("relative_error", worst)
    record_property("grown_bytes", grown)
    assert worst <= 1e-5
    # As many sizes are kept after fifty as after all, but not the same ones.
    assert grown <= max(held, 64 << 20)


def test_eight_threads(cuda: torch.device) -> None:
    """One model, called from eight threads at four sizes: each gets its own image's labels."""
    model = nets.seeded_segmenter(cuda, torch.float32, SLIM)
    images = [nets.image(seed, 40 + 9 * (seed % 4), 61 - 7 * (seed % 4)).to(cuda) for seed in range(16)]
    expected = [model.predict_labels(x).clone() for x in images]

    def label(worker: int) -> bool:
        stream = torch.cuda.Stream(cuda)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            torch.cuda.current_stream().wait_stream(torch.cuda.default_stream(cuda))
            order = [(worker * 5 + turn) % len(images) for turn in range(40)]
            return all(torch.equal(model.predict_labels(images[index]), expected[index]) for index in order)

    torch.cuda.synchronize(cuda)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(label, range(8)))
