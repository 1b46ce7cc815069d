"""Tiles of convolutions: every choice is valid, says why, and a table of measurements goes before it."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fcnrt_kernels import tables
from fcnrt_kernels.conv_config import SHARED_MEMORY, candidates, is_valid, select_conv_config, shared_bytes, why_invalid
from fcnrt_kernels.conv_problem import ConvConfig, ConvProblem, Target, tiling
from fcnrt_kernels.gpu import nearest_capability
from fcnrt_kernels.tables import Choice, Measured, choose_from, read_table, write_table
from fcnrt_kernels.tune import main, parse_problem, tune, tune_all

H200 = Target(90, 132, "NVIDIA H200")
TARGETS = tuple(Target(capability, 100, "test") for capability in SHARED_MEMORY)
CONV5 = ConvProblem(1, 44, 44, 512, 512, (3, 3), "bfloat16")
EXACT = replace(CONV5, dtype="float32", exact=True)
WIDE = ConvConfig("descriptor", 128, 16, 16, 64, 8, 3)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"sm_{target.capability}")
def test_every_problem_has_a_valid_tile(target: Target) -> None:
    shapes = itertools.product((1, 16), (1, 13, 44, 500), (1, 13, 64, 512), (1, 24, 512), ((1, 1), (3, 3)))
    types = itertools.cycle((("bfloat16", False), ("float32", False), ("float32", True)))
    for (batch, side, channels, out_channels, kernel), pool in [*itertools.product(shapes, (False, True))][::5]:
        dtype, exact = next(types)
        itemsize = 4 if dtype == "float32" else 2
        alignment = math.gcd(16, channels * itemsize, out_channels * itemsize)
        problem = ConvProblem(batch, side, side + 1, channels, out_channels, kernel, dtype, pool, alignment, exact)
        config, reason = select_conv_config(problem, target)
        assert is_valid(config, problem, target), why_invalid(config, problem, target)
        descriptors = target.capability in (90, 100) and alignment == 16 and not exact
        assert descriptors or config.variant == "pointer"
        assert ("pointers, as " in reason) == (config.variant == "pointer")
        tiles = tiling(config, problem, target)
        assert tiles.tiles_y * config.block_y >= side
        assert tiles.tiles_m * config.block_m >= out_channels
        taps = kernel[0] * kernel[1]
        assert tiles.steps * config.splits >= taps * -(-channels // config.block_k)


def test_what_is_chosen_for_fcn8s() -> None:
    """Large maps take the tiles that read least; maps that leave the GPU half empty are split."""
    large, _ = select_conv_config(replace(CONV5, batch=16, rows=135, columns=135, channels=256, out_channels=256), H200)
    assert (large.variant, large.block_m * large.block_n, large.splits) == ("descriptor", 128 * 256, 1)
    few = replace(CONV5, rows=22, columns=22)
    small, reason = select_conv_config(few, H200)
    assert small.splits > 1
    assert tiling(replace(small, splits=1), few, H200).work < 132
    assert "1 waves over 132 multiprocessors" in reason
    fc6, _ = select_conv_config(ConvProblem(1, 16, 16, 512, 4096, (7, 7), "bfloat16"), H200)
    assert fc6.splits > 1
    assert tiling(fc6, ConvProblem(1, 16, 16, 512, 4096, (7, 7), "bfloat16"), H200).positions_first


@pytest.mark.parametrize(
    ("config", "problem", "target", "reason"),
    [
        (replace(WIDE, block_x=24), CONV5, H200, "not all powers of two"),
        (replace(WIDE, block_k=8), CONV5, H200, "shorter than 16"),
        (replace(WIDE, block_y=1, block_x=256), replace(CONV5, pool=True), H200, "two rows and two columns"),
        (replace(WIDE, splits=73), CONV5, H200, "73 splits of 72 steps"),
        (replace(WIDE, num_stages=5), CONV5, H200, "279[0-9]{3} bytes of shared memory, of 232448"),
        (replace(WIDE, programs=2), CONV5, H200, "2 x 18[0-9]{4} bytes"),
        (replace(WIDE, num_stages=2), CONV5, Target(80, 108, ""), "sm_80 has no matrix instruction"),
        (WIDE, replace(CONV5, alignment=8), H200, "multiples of 8 bytes only"),
        (replace(WIDE, block_k=32, num_stages=2, block_x=8), EXACT, H200, "exact float32 products"),
        (replace(WIDE, block_m=32), CONV5, H200, "64 channels for each group of four warps"),
        (replace(WIDE, block_m=256, num_stages=2, block_k=32), replace(CONV5, pool=True), H200, "256 accumulators"),
        (ConvConfig("pointer", 64, 8, 8, 64, 4, 3), CONV5, H200, "fewer than eight warps"),
        (ConvConfig("pointer", 64, 8, 16, 32, 8, 3), replace(CONV5, alignment=2), H200, "32 accumulators .*, of 16"),
        (ConvConfig("pointer", 64, 8, 8, 64, 8, 3), replace(CONV5, alignment=8), H200, "8 bytes at a time"),
        (ConvConfig("pointer", 64, 8, 8, 64, 8, 3, programs=2), CONV5, H200, "not persistent"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_invalid_says_why(config: ConvConfig, problem: ConvProblem, target: Target, reason: str) -> None:
    assert not is_valid(config, problem, target)
    found = why_invalid(config, problem, target)
    assert found is not None
    assert re.search(reason, found), found


def test_candidates_are_valid_and_different() -> None:
    for problem in (CONV5, EXACT, replace(CONV5, channels=33, alignment=2)):
        found = list(candidates(problem, H200))
        assert len(set(found)) == len(found) > 4
        assert all(is_valid(config, problem, H200) for config in found)
        assert all(shared_bytes(config, problem, 90) <= SHARED_MEMORY[90] for config in found)


def test_what_a_problem_takes() -> None:
    problem = ConvProblem(2, 5, 7, 8, 16, (3, 3), "float16", pool=True)
    assert problem.flops == 2 * 2 * 5 * 7 * 8 * 16 * 9
    assert problem.bytes == 2 * (2 * 7 * 9 * 8 + 2 * 3 * 4 * 16 + 9 * 8 * 16)


def test_gpus_of_a_known_generation_pass_for_their_elders() -> None:
    assert [nearest_capability(each) for each in (80, 87, 90, 103, 121)] == [80, 86, 90, 100, 120]
    with pytest.raises(ValueError, match=r"is an sm_75; expected the generation of one of sm_80, .*sm_120"):
        nearest_capability(75)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "configs" / tables.file_name("NVIDIA H200")
    assert path.name == "nvidia-h200.json"
    table = {CONV5: Measured(WIDE, 2e-5, 3e-5), replace(CONV5, batch=2): Measured(None, None, 4e-5)}
    write_table(path, "NVIDIA H200", {"torch": "2"}, table)
    assert read_table(path) == table
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_measurements_go_before_estimates() -> None:
    def choose(measured: Measured) -> Choice:
        return choose_from({CONV5: measured}, CONV5, H200)

    faster = choose(Measured(WIDE, 2e-5, 3e-5))
    assert (faster.config, faster.reason, faster.cudnn_faster) == (WIDE, "measured: 20.0 us, cuDNN 30.0 us", False)
    assert choose(Measured(WIDE, 2e-5, 1e-5)).cudnn_faster
    none_ran = choose(Measured(None, None, 1e-5))
    assert none_ran.cudnn_faster
    assert "no tile ran" in none_ran.reason
    outdated = choose(Measured(replace(WIDE, num_stages=9), 2e-5, None))
    assert outdated.config == select_conv_config(CONV5, H200)[0]
    assert "shared memory" in outdated.reason
    assert not outdated.cudnn_faster
    assert choose_from({}, CONV5, H200).reason.startswith("estimated: ")


def test_a_users_table_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FCNRT_CACHE_DIR", str(tmp_path))
    write_table(tables.user_folder() / "some-gpu.json", "Some GPU", {}, {CONV5: Measured(WIDE, 2e-5, None)})
    try:
        assert tables.choose(CONV5, Target(90, 132, "Some GPU")).reason == "measured: 20.0 us"
    finally:
        tables.forget()


def test_what_was_measured_for_the_like_comes_before_an_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FCNRT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tables, "SHIPPED", tmp_path / "shipped")
    h100 = Target(90, 132, "NVIDIA H100 80GB HBM3")
    tables.forget()
    try:
        write_table(tables.SHIPPED / tables.file_name(h100.name), h100.name, {}, {CONV5: Measured(WIDE, 2e-5, None)})
        half = replace(CONV5, dtype="float16")
        assert tables.choose(half, h100).reason == "measured: 20.0 us, in bfloat16 on an NVIDIA H100 80GB HBM3"
        assert tables.choose(half, H200).config == tables.choose(CONV5, H200).config == WIDE
        assert tables.choose(replace(CONV5, dtype="float32", exact=True), H200).reason.startswith("estimated")
        assert tables.choose(CONV5, Target(90, 132, "Some GPU")).reason.startswith("estimated")
        # A user's own measurements add to what is shipped, and go before it.
        mine = {half: Measured(replace(WIDE, num_stages=3), 1e-5, None)}
        write_table(tables.user_folder() / tables.file_name(h100.name), h100.name, {}, mine)
        assert tables.choose(half, h100).reason == "measured: 10.0 us"
        assert tables.choose(CONV5, h100).reason == "measured: 20.0 us"
    finally:
        tables.forget()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "version 2, expected 1"),
        ({"measured": 5}, "not iterable"),
        ({"measured": [{"problem": {"kernel": [3]}, "config": None}]}, r"kernel is \[3\], expected two integers"),
        ({"config": {"block_m": 128}}, r"ConvConfig has fields \['block_m'\], expected"),
        ({"config": {**WIDE.__dict__, "block_m": "128"}}, "block_m is '128', expected int"),
        ({"seconds": -1}, "a time is -1, expected seconds or null"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_table_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    write_table(path, "gpu", {}, {CONV5: Measured(WIDE, 2e-5, None)})
    content = json.loads(path.read_text())
    content = {**content, **change} if change.keys() & content.keys() else {
        **content, "measured": [{**content["measured"][0], **change}]
    }  # fmt: skip
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"gpu.json is no table of measurements \(.*{message}"):
        read_table(path)


def test_a_huge_table_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    with path.open("wb") as file:
        file.truncate(tables.LARGEST_FILE + 1)
    with pytest.raises(ValueError, match=r"has 4194305 bytes; expected a table of at most 4194304"):
        read_table(path)


def test_the_fastest_that_runs_is_kept() -> None:
    said: list[str] = []

    def measure(problem: ConvProblem, config: ConvConfig | None) -> float:
        if config is None:
            return 5e-5
        if config.splits == 1:
            raise RuntimeError("out of resource\nand more")
        return 1e-5 * config.splits + 1e-6 * config.num_stages

    found = tune(CONV5, H200, measure, most=50, log=said.append)
    assert found.config is not None
    assert found.config.splits == 2
    assert found.cudnn_seconds == 5e-5
    assert any("does not run: out of resource" in line for line in said)
    assert not any("and more" in line for line in said)


def test_tuning_goes_on_where_it_was_cut_short(tmp_path: Path) -> None:
    path, asked = tmp_path / "gpu.json", []

    def measure(problem: ConvProblem, config: ConvConfig | None) -> float:
        asked.append(problem)
        if problem.batch == 3:
            raise KeyboardInterrupt
        return 1e-5

    problems = [replace(CONV5, batch=batch) for batch in (1, 2, 3)]
    with pytest.raises(KeyboardInterrupt):
        tune_all(problems, H200, measure, path, most=2, log=lambda line: None)
    assert set(read_table(path)) == set(problems[:2])
    asked.clear()
    tune_all(problems[:2], H200, measure, path, most=2, log=lambda line: None)
    assert not asked
    tune_all(problems[:1], H200, measure, path, again=True, most=2, log=lambda line: None)
    assert set(asked) == {problems[0]}


def test_problems_on_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_problem("1x44x44x512x512x3", "bfloat16") == CONV5
    assert parse_problem("2x5x6x13x24x1+pool", "float16") == ConvProblem(
        2, 5, 6, 13, 24, (1, 1), "float16", pool=True, alignment=2
    )
    with pytest.raises(SystemExit, match="2"):
        main(["1x0x44x512x512x3"])
    assert "'1x0x44x512x512x3' is no problem; expected batch x rows" in capsys.readouterr().err
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["1x44x44x512x512x3"]) == 2
    assert "finds no CUDA device here" in capsys.readouterr().err
