"""What ``fcnrt info --plan`` prints: how a net would run, step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fcnrt.calibration import images_to_show
from fcnrt.checkpoints import Checkpoint
from fcnrt.engine import Placement
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.precision import decide_dtype
from fcnrt.models.registry import create_skeleton
from fcnrt.plan.explain import Row, as_lines, explain_schedule
from fcnrt.plan.schedule import Schedule


@dataclass(frozen=True)
class Plan:
    """How one net runs at one image size.

    Args:
        placement: device and type.
        itemsize: bytes of an activation.
        schedule: None if the trunk runs module by module.
        rows: an op each.
        decoders: of each head, launches for the labels and why.
    """

    placement: Placement
    itemsize: int
    schedule: Schedule | None
    rows: Sequence[Row]
    decoders: Mapping[str, tuple[str, str]]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "device": str(self.placement.device),
            "dtype": str(self.placement.dtype).removeprefix("torch."),
            "reason": self.placement.reason,
            "steps": [dataclasses.asdict(row) | {"skipped": row.skipped} for row in self.rows],
            "activation_bytes": None if self.schedule is None else self.schedule.memory.elements * self.itemsize,
            "decoders": {head: {"launches": many, "reason": why} for head, (many, why) in self.decoders.items()},
        }

    def as_lines(self) -> list[str]:
        """The same for people."""
        placement = self.placement
        lines = [
            "",
            f"device         {placement.device}, {str(placement.dtype).removeprefix('torch.')}: {placement.reason}",
        ]
        if self.schedule is None:
            lines.append("trunk          module by module: it does something that no plan holds")
        else:
            lines += as_lines(self.schedule, self.rows, self.itemsize)
        for head, (launches, reason) in self.decoders.items():
            lines.append(f"decoder        {head}: {launches} launch{'' if launches == 'one' else 'es'}: {reason}")
        return lines


def make_plan(checkpoint: Checkpoint, size: tuple[int, int], placement: Placement) -> Plan:
    """Pack the net of ``checkpoint`` and plan it for images of ``size``.

    Raises:
        InputError: the net refuses images of this size.
    """
    spec = checkpoint.spec
    net = create_skeleton(spec.arch, spec.num_classes, **spec.options)
    net.load_state_dict(checkpoint.state_dict, assign=True)
    net = net.eval().requires_grad_(False).to(placement.device)
    shown = images_to_show(placement, None, spec.normalization, net.in_channels)
    placement = decide_dtype(net, placement, "fused", shown)
    fused = FusedFCN(net, placement.dtype, calibration=shown)
    if fused.planned is None:
        return Plan(placement, placement.dtype.itemsize, None, (), fused.decoder_choices())
    schedule = fused.planned.prepare(*size).schedule
    itemsize = fused.planned.dtype.itemsize
    rows = explain_schedule(schedule, fused.planned.explain, itemsize)
    return Plan(placement, itemsize, schedule, rows, fused.decoder_choices())
