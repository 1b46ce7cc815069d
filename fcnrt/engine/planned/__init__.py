"""A net's trunk run by its plan, over halo buffers; which kernels compute it is the caller's choice."""

from fcnrt.engine.planned.trunk import NOMINAL_SIZE, PlannedTrunk, Steps

__all__ = ["NOMINAL_SIZE", "PlannedTrunk", "Steps"]
