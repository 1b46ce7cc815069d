"""The table of architectures, and nets without memory."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

from fcnrt.errors import InputError
from fcnrt.models.registry import ARCHITECTURES, create_model, create_skeleton


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_options_are_those_of_the_constructor(arch: str) -> None:
    architecture = ARCHITECTURES[arch]
    parameters = inspect.signature(architecture.build).parameters
    taken = {name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
    assert architecture.options.keys() | architecture.fixed.keys() == taken
    for name, default in architecture.options.items():
        assert parameters[name].default in (default, None)


@pytest.mark.parametrize("arch", [arch for arch in ARCHITECTURES if not arch.endswith(("34", "50", "101"))])
def test_skeletons_have_the_shapes_of_the_net(arch: str) -> None:
    net, skeleton = (build(arch, 5, width=1 / 16) for build in (create_model, create_skeleton))
    shapes = {key: value.shape for key, value in skeleton.state_dict().items()}
    assert shapes == {key: value.shape for key, value in net.state_dict().items()}
    assert all(value.is_meta for value in skeleton.state_dict().values())
    assert next(iter(skeleton.head_classes.values())) == skeleton.num_classes == 5


def test_skeletons_do_not_wake_the_compiler() -> None:
    """torch imports it to draw random numbers on the meta device, which takes seconds."""
    script = (
        "import sys\n"
        "from fcnrt.models.registry import create_skeleton\n"
        "for arch in ('fcn8s', 'fcn-resnet18', 'mmseg-fcn-resnet18', 'fcn-googlenet'):\n"
        "    create_skeleton(arch, 2, width=1 / 16)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=300).returncode == 0


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("fcn4s", {}, "unknown architecture 'fcn4s'; known are fcn32s"),
        ("fcn8s", {"depth": 50}, "fcn8s has no option depth; its options are width, padding"),
        ("fcn8s", {"padding": 1.5}, "option padding of fcn8s is 1.5; expected a value like 100"),
        ("fcn8s", {"padding": True}, "option padding of fcn8s is True; expected a whole number"),
        ("fcn8s", {"padding": -1}, "option padding of fcn8s is -1; expected a whole number"),
        ("mmseg-fcn-resnet50", {"align_corners": "no"}, "is 'no'; expected a value like False"),
        ("fcn-resnet50", {"output_stride": 4}, "output stride 4 is not known"),
    ],
)
def test_options_that_a_net_does_not_take(arch: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model(arch, 2, **options)
