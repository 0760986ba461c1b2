"""Optimizers of a user's own: workflows run them on workers that trust their packages."""

from typing import TYPE_CHECKING, Any, cast

from temporalio import workflow

from dspex_core.errors import ConfigurationError, DSPExError
from dspex_core.optimizers import Optimizer
from dspex_core.references import CodeReference

from ._runtime import WorkflowRuntime

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_OPTIMIZER = "OwnOptimizer"
"""Type of the workflow that compiles with one of them."""
IMPORT_TRUSTED = "dspex_import_trusted"
"""Extern function by which a workflow imports code that its worker trusts: `(reference, what=…)`."""


async def own_optimizer(code: CodeReference, runtime: WorkflowRuntime) -> type[Optimizer]:
    """The optimizer at a reference.

    An activity looks first: what no worker has, or trusts, parks the run. The worker that runs the workflow may be
    another one. What it lacks fails its task, which the server then offers to others, and is no event of the run: what
    a worker has must not decide what a history holds.

    Args:
        code: Where it is.
        runtime: The run's.

    Raises:
        ConfigurationError: If what is there is no optimizer.
    """
    await runtime.check_code(code)
    given = cast("Mapping[str, Any]", workflow.extern_functions())  # pyright: ignore[reportUnknownMemberType]
    try:
        found = given[IMPORT_TRUSTED](code, what="optimizer")
    except DSPExError as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from None  # not of ours, which fail a run
    if isinstance(found, type) and issubclass(found, Optimizer):
        return found
    raise ConfigurationError(f"{code.path} is no optimizer, but {found!r:.80}: name a class that extends Optimizer")
