"""Example and Prediction: named values, as an author of programs sees them."""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping
from typing import Any, Self, cast

from dspex_core.errors import DatasetError, InputError
from dspex_core.usage import Usage


class Record:
    """Named values, read as attributes or items; a value once made does not change."""

    __slots__ = ("_fields",)

    def __init__(self, base: Mapping[str, Any] | None = None, /, **fields: Any) -> None:
        self._fields: dict[str, Any] = {**(base or {}), **fields}

    def __getattr__(self, name: str) -> Any:
        # Guarded, because copy and pickle look attributes up before `_fields` is set.
        if name.startswith("__") or name == "_fields":
            raise AttributeError(name)
        try:
            return self._fields[name]
        except KeyError:
            known = ", ".join(self._fields) or "none"
            raise AttributeError(f"this {type(self).__name__} has no field {name!r}; its fields are {known}") from None

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def keys(self) -> KeysView[str]:
        """Field names, in the order they were given."""
        return self._fields.keys()

    def items(self) -> ItemsView[str, Any]:
        """Pairs of field name and value."""
        return self._fields.items()

    def get(self, name: str, default: Any = None) -> Any:
        """Value of a field, or `default` where there is none."""
        return self._fields.get(name, default)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a new dict."""
        return dict(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and type(other) is type(self) and self._fields == other._fields

    __hash__ = None  # pyright: ignore[reportAssignmentType] - values may be unhashable

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        return f"{type(self).__name__}({fields})"


class Example(Record):
    """One row of a data set: inputs for a program and, usually, the labels it should find.

        Example(text="I was charged twice", team="billing").with_inputs("text")

    Args:
        base: A mapping (also another Example) to start from.
        **fields: Values by field name; they win over `base`.
    """

    __slots__ = ("_input_names",)

    def __init__(self, base: Mapping[str, Any] | Record | None = None, /, **fields: Any) -> None:
        super().__init__(base.to_dict() if isinstance(base, Record) else base, **fields)
        known = base._input_names if isinstance(base, Example) else None  # noqa: SLF001 - the same class
        self._input_names: tuple[str, ...] | None = known

    def with_inputs(self, *names: str) -> Self:
        """A copy that knows which of its fields are inputs.

        Raises:
            InputError: If a name is not a field of this example.
        """
        for name in names:
            if name not in self._fields:
                known = ", ".join(self._fields)
                raise InputError(f"with_inputs: this example has no field {name!r}; its fields are {known}")
        copy = type(self)(self)
        copy._input_names = names  # noqa: SLF001 - the same class
        return copy

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the input fields.

        Raises:
            InputError: If `with_inputs` was not called.
        """
        if self._input_names is None:
            raise InputError(f"which fields of {self!r:.200} are inputs? say so with .with_inputs('name', …)")
        return self._input_names

    def inputs(self) -> dict[str, Any]:
        """The input fields: what a program is called with."""
        return {name: self._fields[name] for name in self.input_names}

    def labels(self) -> dict[str, Any]:
        """All other fields: what a metric compares with."""
        return {name: value for name, value in self._fields.items() if name not in self.input_names}


def require_inputs(examples: Iterable[Example], *, what: str) -> None:
    """Refuse rows that a program cannot be called with.

    Args:
        examples: The rows.
        what: What they are for, for the error.

    Raises:
        DatasetError: If `with_inputs` was not called on one; names the first.
    """
    for row, example in enumerate(examples):
        if not isinstance(cast("Any", example), Example):
            raise DatasetError(f"{what}, row {row}: write Example(…).with_inputs('name', …), not {example!r:.80}")
        try:
            example.input_names  # noqa: B018 - raises if they are not known
        except InputError as error:
            raise DatasetError(f"{what}, row {row}: {error}") from None


class Prediction(Record):
    """What a program answered: its output fields, and what they took.

        prediction = await triage(text="I was charged twice")
        print(prediction.team, prediction["team"], prediction.usage.lm_calls)

    Attributes:
        usage: LM calls, tokens and cost of this prediction.
    """

    __slots__ = ("usage",)

    def __init__(self, base: Mapping[str, Any] | None = None, /, *, usage: Usage | None = None, **fields: Any) -> None:
        super().__init__(base, **fields)
        self.usage = usage or Usage()

    def with_usage(self, usage: Usage) -> "Prediction":
        """A copy that reports another usage."""
        return Prediction(self._fields, usage=usage)
