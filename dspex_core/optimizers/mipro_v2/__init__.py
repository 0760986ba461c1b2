"""MIPROv2: instructions and demos searched for together; one file a step."""

from dspex_core.optimizers.mipro_v2._optimizer import MIPROv2
from dspex_core.optimizers.mipro_v2._schedule import Schedule

__all__ = ["MIPROv2", "Schedule"]
