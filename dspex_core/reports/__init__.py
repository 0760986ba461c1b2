"""Reports: what a compile found, as a page to read and keep."""

from dspex_core.reports._front import pareto_front, prompt_size
from dspex_core.reports._page import ROWS_SHOWN, Reported, ReportedCandidate, fold_facts, report_page
from dspex_core.reports._plot import Plot, plot_of
from dspex_core.reports._significance import Gain, gain_of

__all__ = [
    "ROWS_SHOWN",
    "Gain",
    "Plot",
    "Reported",
    "ReportedCandidate",
    "fold_facts",
    "gain_of",
    "pareto_front",
    "plot_of",
    "prompt_size",
    "report_page",
]
