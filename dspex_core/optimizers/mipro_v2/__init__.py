"""MIPROv2: instructions and demos searched for together; one file a step."""

from dspex_core.optimizers.mipro_v2._optimizer import MIPROv2
from dspex_core.optimizers.mipro_v2._plan import Plan

__all__ = ["MIPROv2", "Plan"]
