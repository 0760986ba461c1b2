"""What pydantic finds wrong with a value, in our words."""

from pydantic import ValidationError

_LONGEST_VALUE_SHOWN = 80
# What was given is shown where it says more: of these, it is all the rest, or the reason names it.
_SAYS_ALL = ("missing", "extra_forbidden", "value_error", "assertion_error")


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The first thing that is wrong: its place, as names with dots between them, and what is wrong there.

        >>> first_problem(error)
        ('max_tokens', 'Input should be greater than 0, not -5')

    What was given is part of it, so this is not for values that may hold a secret.
    """
    first = error.errors(include_url=False)[0]
    where, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    if first["type"] in _SAYS_ALL:
        return where, said
    given = repr(first["input"])
    return where, f"{said}, not {given if len(given) <= _LONGEST_VALUE_SHOWN else given[:_LONGEST_VALUE_SHOWN] + ' …'}"
