"""Workers: the plugin that makes any Temporal worker one of ours, and ready-made ones."""

from dspex.worker._options import WorkerOptions
from dspex.worker._plugin import DSPExPlugin
from dspex.worker._process import WorkerProcess
from dspex.worker._search_attributes import register_search_attributes
from dspex.worker._worker import run_worker

__all__ = ["DSPExPlugin", "WorkerOptions", "WorkerProcess", "register_search_attributes", "run_worker"]
