"""Programs written with DSPy, taken as they are: our optimizers compile them, and our models answer them.

DSPy itself comes with `dspex[dspy]` and is imported when such a program is at hand.
"""

from dspex_core.modules.dspy_program._library import is_dspy_module
from dspex_core.modules.dspy_program._program import DSPyProgram, as_program, as_rows

__all__ = ["DSPyProgram", "as_program", "as_rows", "is_dspy_module"]
