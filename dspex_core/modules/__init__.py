"""Modules: the steps that programs are made of."""

from dspex_core.modules._build import MODULES, build_program, module_named
from dspex_core.modules._module import Module
from dspex_core.modules._predict import ChainOfThought, Predict
from dspex_core.modules._react import ReAct

__all__ = ["MODULES", "ChainOfThought", "Module", "Predict", "build_program", "module_named"]
