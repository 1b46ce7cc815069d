"""Options, the competition that every suite holds, and what is done with its results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks import gate, timing
from benchmarks.contenders import Contender, contenders
from benchmarks.environment import LOAD, ROOT, available_cores, commit, environment
from benchmarks.exported import why_missing
from benchmarks.results import RESULTS, command_line, result_files, write_result
from benchmarks.table import parse, render
from benchmarks.workload import Output, Workload
from fcnrt.measuring import peak_bytes

HERE = Path(__file__).resolve().parent
DEVICE = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")

Record = dict[str, Any]
_RECORDS = pytest.StashKey[list[Record]]()
_FAILED_SUITES = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fcnrt")
    group.addoption(
        "--compile",
        action="store_true",
        help="time torch.compile too (max-autotune on a GPU); compiling takes minutes and, on a CPU, a C++ compiler; "
        "whole nets on a CPU are timed with it in any case, where there is one",
    )
    group.addoption("--full-width", action="store_true", help="sweep sizes with the full-width net, not a slim one")
    group.addoption(
        "--fcnrt-results",
        metavar="DIR",
        nargs="?",
        const=str(RESULTS),
        help="write DIR/<machine>/<suite>.json (default: benchmarks/results); with --compile <suite>-compiled.json",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RECORDS] = []
    config.stash[_FAILED_SUITES] = set()
    # Who interrupts the run before a contender is timed gets what was timed until then, and no error.
    config.addinivalue_line("filterwarnings", "default::pytest_benchmark.logger.PytestBenchmarkWarning")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a contender that cannot run here, with the reason."""
    parameters = (
        item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    )
    for contender in parameters:
        if isinstance(contender, Contender):
            reason = why_missing(contender)
            if reason is not None:
                pytest.skip(reason)


@pytest.hookimpl(trylast=True)  # after the marks: contenders of one group run one after another
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "contender" in metafunc.fixturenames:
        whole_nets = _suite(metafunc.definition) == "network"
        competing = contenders(
            DEVICE,
            compiled=metafunc.config.getoption("compile") or (whole_nets and DEVICE.type == "cpu"),
            graphs=whole_nets,  # the others are timed without the host as well
            runtimes=whole_nets,
        )
        metafunc.parametrize("contender", competing, ids=str)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            # A warning in a peer's code is no failure of ours.
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    if report.failed:
        item.config.stash[_FAILED_SUITES].add(_suite(item))
    return report  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The first GPU, or the CPU where there is none."""
    return DEVICE


@pytest.fixture(scope="session", autouse=True)
def full_precision() -> Iterator[None]:
    """float32 means float32, in the reference too; the one contender that rounds says so."""
    with _convolutions_in_tf32(False):
        yield


@pytest.fixture(scope="session")
def references() -> dict[str, Tensor]:
    """Scores of the reference by workload, so that each is computed once."""
    return {}


@pytest.fixture
def compete(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, references: dict[str, Tensor]
) -> Callable[..., None]:
    """``compete(workload, output, contender)``: pass the gate, then be timed; ``rounds`` for fewer than usual."""

    def compete(workload: Workload, output: Output, contender: Contender, *, rounds: int | None = None) -> None:
        if workload.title not in references:
            references.clear()  # groups follow one another; a full-width one need not outlive its group
            references[workload.title] = workload.reference()
        runs, inputs = workload.runs(contender, output), workload.inputs(contender)
        run = runs.scores if output == "scores" else runs.labels
        assert run is not None
        with torch.inference_mode(), _convolutions_in_tf32(contender.tf32):
            if contender.kind in ("eager", "fcnrt"):  # the others have allocators of their own, or replay a recording
                if runs.prepare is not None:
                    runs.prepare(*inputs)
                # The first call: a contender that keeps its buffers takes none for a second.
                benchmark.extra_info["peak_bytes"] = peak_bytes(lambda: run(*inputs), DEVICE)
            scores = None if runs.scores is None else runs.scores(*inputs)  # a compiled module has no truth value
            labels = scores.argmax(dim=1) if output == "scores" and scores is not None else run(*inputs)
            agreement = gate.measure(scores, labels, references[workload.title])
            gate.check(agreement, gate.tolerance_of(contender, trained=workload.trained), contender.title)
            del scores, labels
            benchmark.group = f"{workload.title}: {output}"
            benchmark.extra_info |= {
                **workload.facts,
                "suite": _suite(request.node),
                "contender": contender.title,
                "reference": contender.is_reference,
                "dtype": str(contender.dtype).removeprefix("torch."),
                "device": DEVICE.type,
                "threads": torch.get_num_threads(),
                "relative_error": agreement.relative_error,
                "label_agreement": agreement.label_agreement,
            }
            _time(benchmark, request.config, run, timing.rotation(inputs, DEVICE), rounds)
        if benchmark.stats is not None:
            request.config.stash[_RECORDS].append(benchmark.stats.as_dict(include_data=False))

    return compete


def _time(
    benchmark: BenchmarkFixture,
    config: pytest.Config,
    run: timing.Run,
    sets: list[timing.Inputs],
    rounds: int | None,
) -> None:
    call = timing.timed_call(run, sets, DEVICE)
    if benchmark.disabled:
        benchmark.pedantic(call)  # type: ignore[no-untyped-call]
        return
    seconds = timing.warm_up(call)
    if rounds is None:
        max_time, min_rounds = config.getoption("benchmark_max_time"), config.getoption("benchmark_min_rounds")
        rounds = timing.rounds_for(seconds, float(max_time), int(min_rounds))
    # Whole nets compete as CUDA graphs, which no other graph can hold.
    if DEVICE.type == "cuda" and benchmark.extra_info["suite"] in ("kernel", "decoder", "conv"):
        benchmark.extra_info["device_seconds"] = timing.device_seconds(run, sets)
    benchmark.pedantic(call, rounds=rounds)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _convolutions_in_tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _suite(node: pytest.Item) -> str:
    """``network`` of ``benchmarks/test_network.py``."""
    return node.path.stem.removeprefix("test_")


def pytest_benchmark_generate_machine_info() -> dict[str, Any]:
    return environment()


def pytest_benchmark_generate_commit_info() -> dict[str, Any]:
    return commit()


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    output_json["command"] = command_line(config.invocation_params.args, ROOT)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode, config: pytest.Config
) -> None:
    """What the run was for: how the contenders compare, after pytest-benchmark's tables of absolute times."""
    records = config.stash[_RECORDS]
    if not records:
        return
    measured = {
        "machine_info": environment(),
        "commit_info": commit(),
        "command": command_line(config.invocation_params.args, ROOT),
        "benchmarks": records,
    }
    terminalreporter.write_sep("-", "fcnrt beside the eager reference")
    terminalreporter.write_line(render(parse(measured)))
    if LOAD is not None and available_cores() / 2 < LOAD:
        terminalreporter.write_line(
            f"The machine was busy with other things (load {LOAD} on {available_cores()} cores): measure again.",
            yellow=True,
        )
    folder = config.getoption("fcnrt_results")
    if folder is None:
        return
    interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
    for result in result_files(measured):
        # Never under the name of the whole: who finds that file may rely on it.
        incomplete = interrupted or result["suite"] in config.stash[_FAILED_SUITES]
        result["suite"] += "-compiled" if config.getoption("compile") else ""
        result["suite"] += "-incomplete" if incomplete else ""
        terminalreporter.write_line(f"wrote {write_result(Path(folder), result)}")
