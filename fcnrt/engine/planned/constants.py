"""Which constants there are, computed once for all sizes that share them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import Tensor

from fcnrt.engine.planned.rings import Ring, cut_frame, stretch_frame
from fcnrt.models.decoder import Decoder
from fcnrt.plan.extents import COLUMNS, ROWS, Extent
from fcnrt.plan.graph import Image
from fcnrt.plan.schedule import Schedule, plan_axis
from fcnrt.plan.template import Stretch, stretch, template_size

KEPT_TEMPLATES = 64
"""Zero images whose constants are kept: a few megabytes each for a full-width net."""


class Constants:
    """The constants of one net in one type; not for several threads at once.

    Args:
        heads: the net's decoders.
        run: computes every buffer of a zero image, shows each to a visitor, and gives the schedule.
    """

    def __init__(
        self,
        heads: Mapping[str, Decoder],
        run: Callable[[int, int, Callable[[str, Tensor], None]], Schedule],
    ) -> None:
        self._heads = heads
        self._run = run
        self._frames: OrderedDict[tuple[int, int], tuple[Schedule, dict[str, Ring]]] = OrderedDict()

    def rings(self, schedule: Schedule) -> dict[str, Ring]:
        """The ring of each buffer that has constants."""
        names = {
            group[-1].name
            for group in schedule.groups
            if schedule.values[group[-1].name].has_constants and not isinstance(group[-1], Image)
        }
        if not names:
            return {}
        rows, columns = (
            template_size(schedule.graph, self._heads, schedule.groups, axis, size, names)
            for axis, size in ((ROWS, schedule.height), (COLUMNS, schedule.width))
        )
        stretches = self._stretches(schedule, rows, columns, names)
        if (rows, columns) not in self._frames:
            while len(self._frames) >= KEPT_TEMPLATES:
                self._frames.popitem(last=False)
            self._frames[rows, columns] = self._cut_frames(schedule, rows, columns, stretches)
        self._frames.move_to_end((rows, columns))
        template, frames = self._frames[rows, columns]
        return {
            name: stretch_frame(frames[name], schedule.values[name], template.values[name], stretches[name])
            for name in names
        }

    def _stretches(
        self, schedule: Schedule, rows: int, columns: int, names: set[str]
    ) -> dict[str, tuple[Stretch, Stretch]]:
        """Of each map, from the template of ``rows`` x ``columns``."""

        def along(axis: int, size: int, template: int) -> dict[str, Stretch]:
            wanted, found = self._extents(schedule, axis, size), self._extents(schedule, axis, template)
            return {name: stretch(wanted[name], found[name]) for name in names}

        by_rows, by_columns = along(ROWS, schedule.height, rows), along(COLUMNS, schedule.width, columns)
        return {name: (by_rows[name], by_columns[name]) for name in names}

    def _extents(self, schedule: Schedule, axis: int, size: int) -> dict[str, Extent]:
        return plan_axis(schedule.graph, self._heads, schedule.groups, axis, size)[1]

    def _cut_frames(
        self, schedule: Schedule, rows: int, columns: int, stretches: Mapping[str, tuple[Stretch, Stretch]]
    ) -> tuple[Schedule, dict[str, Ring]]:
        frames: dict[str, Ring] = {}
        seen: dict[str, Tensor] = {}
        template = self._run(rows, columns, lambda name, buffer: _note(seen, name, buffer, stretches))
        for name, whole in seen.items():
            frames[name] = cut_frame(schedule.values[name], template.values[name], whole, stretches[name])
        return template, frames


def _note(seen: dict[str, Tensor], name: str, buffer: Tensor, wanted: Mapping[str, object]) -> None:
    if name in wanted:
        seen[name] = buffer[0].clone()
