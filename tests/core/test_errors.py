import inspect

import pytest

from dspex_core import errors
from dspex_core.errors import DSPExError, LMError, UnknownNameError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, DSPExError)]


def drawn_parents():
    """Parent by class, as the tree at the top of the file draws it; the depth of a name is where it starts."""
    stack, parents = [], {}
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip("│├└─ ").split(" ")[0]
        if not name.endswith("Error"):
            continue
        depth = line.index(name)
        stack = [(at, parent) for at, parent in stack if at < depth]
        parents[name] = stack[-1][1] if stack else None
        stack.append((depth, name))
    return parents


def test_the_tree_that_errors_opens_with_is_the_tree_there_is():
    assert drawn_parents() == {
        kind.__name__: None if kind is DSPExError else kind.__bases__[0].__name__ for kind in CLASSES
    }


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_means(kind):
    assert kind.__doc__


def test_an_unknown_name_tells_the_nearest_and_all_there_are():
    assert str(UnknownNameError("metric", "exact-mach", ["f1", "exact_match"])) == (
        "unknown metric 'exact-mach': did you mean 'exact_match'? there are exact_match, f1"
    )
    assert "did you mean" not in str(UnknownNameError("metric", "zzz", ["f1", "exact_match"]))


def test_only_what_waiting_may_cure_is_retryable():
    retryable = {kind.__name__ for kind in CLASSES if issubclass(kind, LMError) and kind.retryable}
    assert retryable == {
        "LMRateLimitError",
        "LMProviderError",
        "LMConnectionError",
        "LMTimeoutError",
        "LMUnreachableError",
        "LMUnavailableError",
        "LMMalformedResponseError",
    }
