"""Convolutions that are known by their place in ``nn.Sequential``s, not by a name of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fcnrt.checkpoints.stored import StoredTensor
from fcnrt.checkpoints.wording import quote
from fcnrt.errors import CheckpointError

NORMALIZED = "bn"
"""Name under which a chain keeps the batch normalization of a convolution, until it is folded into it."""


@dataclass(frozen=True)
class Chain:
    """The convolutions of some ``nn.Sequential``s, in the order in which they run.

    What stands between them (ReLU, pools, dropout) has no parameters, so their indices in the file vary with it; a
    batch normalization directly behind a convolution is kept with it.

    Args:
        modules: Dotted names of the ``nn.Sequential``s; not every file has them all.
        names: What the convolutions are called, in that order.
    """

    modules: tuple[str, ...]
    names: tuple[str, ...]

    def rename(self, tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
        """Keys of the chain -> their new names.

        Raises:
            CheckpointError: There are more or fewer convolutions than names.
        """
        pattern = re.compile(rf"({'|'.join(map(re.escape, self.modules))})\.(\d{{1,4}})\.(\w+)")
        layers: dict[tuple[int, int], dict[str, str]] = {}
        for key in tensors:
            match = pattern.fullmatch(key)
            if match:
                place = (self.modules.index(match[1]), int(match[2]))
                layers.setdefault(place, {})[match[3]] = key
        renamed: dict[str, str] = {}
        names, convolutions, last = iter(self.names), 0, (-1, -1)
        for place, keys in sorted(layers.items()):
            weight = keys.get("weight")
            if weight and len(tensors[weight].shape) == 4:
                convolutions += 1
                name, last = next(names, ""), place
            elif "running_mean" in keys and place == (last[0], last[1] + 1):
                name = f"{self.names[min(convolutions, len(self.names)) - 1]}.{NORMALIZED}"
            else:
                raise CheckpointError(
                    f"{quote(next(iter(keys.values())))} is neither a convolution nor a batch normalization behind "
                    "one; expected the layers of VGG16"
                )
            renamed |= {key: f"{name}.{leaf}" for leaf, key in keys.items()}
        if convolutions != len(self.names):
            raise CheckpointError(
                f"it has {convolutions} convolutions in {' and '.join(self.modules)}; expected {len(self.names)}: "
                f"{self.names[0]} to {self.names[-1]}. Is it a network on VGG16?"
            )
        return renamed
