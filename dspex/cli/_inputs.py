"""From what was typed to what the core takes: data files, signatures, models, options."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from dspex.cli._shell import say
from dspex.tasks import examples_of, field_name, labels_beside, signature_of_columns
from dspex_core.budget import Budget
from dspex_core.datasets import hold_out, read_rows, require_columns
from dspex_core.errors import (
    ConfigurationError,
    DatasetError,
    InputError,
    ProgramError,
    SignatureError,
    UnknownNameError,
)
from dspex_core.lm import LM, preset_of
from dspex_core.modules import Module, build_program, module_named
from dspex_core.optimizers import Optimizer, optimizer_named
from dspex_core.programs import ImportedProgram
from dspex_core.record import Example
from dspex_core.references import CodeReference, import_code, reference_to
from dspex_core.seam import LMConfig
from dspex_core.signature import InputField, Signature, signature_of, type_adapter

_REACH_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443}
_IN_PYTHON = {
    "knnfewshot": "await KNNFewShot(3, trainset, vectorizer, metric=…).compile(program, valset=valset)",
    "ensemble": "compile several programs, and await Ensemble().compile(programs)",
}
_LABELS_TOLD = 5
_ON_LIMIT = ("park", "finish")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@dataclass(frozen=True)
class Task:
    """A program to compile, with the rows to do it on; none to score on where folds do."""

    program: Module
    trainset: list[Example]
    valset: list[Example] | None


@dataclass(frozen=True)
class TaskOptions:
    """The options of `compile` that say what the task is."""

    train: str
    val: str | None
    inputs: str | None
    outputs: str | None
    instructions: str
    signature: str | None
    program: str | None
    module: str
    seed: int
    folds: int | None = None


def read_task(options: TaskOptions) -> Task:
    """The task that `compile`'s options describe.

    Raises:
        InputError: If files, columns, signature or module do not fit; nothing has been started.
    """
    if options.signature and options.program:
        raise ConfigurationError("--signature and --program exclude each other: a program brings its own signature")
    if options.folds is not None and options.val is not None:
        raise ConfigurationError("--folds and --val exclude each other: folds score the rows of --train in turns")
    build = None if options.program else module_named(options.module)
    rows = read_rows(options.train)
    val_rows = None if options.val is None else read_rows(options.val)
    if options.program:
        structure = ImportedProgram(code=reference_to(options.program, what="program"))
        program = build_program(structure, trust=None)
        inputs, outputs = _columns_for(_signature_within(program), options)
    else:
        signature, inputs, outputs = _signature(options, rows, val_rows or ())
        program = (build or module_named(options.module))(signature)
    columns = inputs | outputs
    taken = _signature_within(program)
    _require_fit(rows, taken, columns, path=options.train)
    if options.folds is not None:
        return Task(program, examples_of(rows, inputs, outputs), None)
    if val_rows is None:
        rows, val_rows = hold_out(rows, seed=options.seed)
    else:
        _require_fit(val_rows, taken, columns, path=options.val or "")
    return Task(program, examples_of(rows, inputs, outputs), examples_of(val_rows, inputs, outputs))


def dataset_for(program: Module, path: str) -> list[Example]:
    """Rows of a file as examples for a program: columns go by the names of its fields.

    Raises:
        DatasetError: If a column is missing.
    """
    signature = _signature_within(program)
    rows = read_rows(path)
    columns = {field_name(column): column for column in rows[0]}
    inputs = {name: columns.get(name, name) for name in signature.input_fields}
    outputs = {name: columns[name] for name in signature.output_fields if name in columns}
    if not outputs:
        raise DatasetError(
            f"{path} has none of the program's outputs as a column: {', '.join(signature.output_fields)}"
        )
    require_columns(rows, [*inputs.values(), *outputs.values()], path=path)
    return examples_of(rows, inputs, outputs)


async def ready_lm(model: str, **options: Any) -> LM:
    """An LM whose key is there and whose server can be reached.

    Raises:
        ConfigurationError: If there is no key, an option does not fit, or nothing listens at its address.
    """
    lm = LM(model, **{name: value for name, value in options.items() if value is not None})
    lm.check()
    url = urlsplit(lm.endpoint)
    if url.hostname and not any(os.environ.get(proxy) for proxy in _PROXIES):
        port = url.port or _PORTS.get(url.scheme, 443)
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(url.hostname, port), _REACH_SECONDS)
            writer.close()
        except (OSError, TimeoutError) as error:
            places = [place for place in ("--api-base", preset_of(model).url_variable) if place]
            reason = "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or str(error))
            raise ConfigurationError(
                f"cannot reach {lm.endpoint} ({reason}): check {', '.join(places)} and the network"
            ) from None
    return lm


def named_optimizer(name: str) -> type[Optimizer]:
    """The optimizer of that name, or at that import path.

    Raises:
        UnknownNameError: If there is none.
        ProgramError: If it cannot be imported.
        ConfigurationError: If it is one that only Python code can use; says how.
    """
    if hint := _IN_PYTHON.get(name.lower().replace("_", "").replace("-", "")):
        raise ConfigurationError(f"--optimizer {name}: it searches nothing that a command could run; in Python, {hint}")
    if ":" not in name:
        return optimizer_named(name)
    found = import_code(CodeReference(path=name), trust=None, what="optimizer")
    if isinstance(found, type) and issubclass(found, Optimizer):
        return found
    raise ConfigurationError(f"--optimizer {name} names {found!r:.80}: name a class that extends Optimizer")


def optimizer_options(settings: Sequence[str], *, metric: str, seed: int) -> dict[str, Any]:
    """Options of an optimizer from `--set key=value` settings; values are JSON where they can be.

    Raises:
        ConfigurationError: If a setting is not key=value.
    """
    options: dict[str, Any] = {"metric": metric, "seed": seed}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigurationError(f"--set {setting!r}: write key=value, for instance max_bootstrapped_demos=8")
        options[key] = _value(value)
    return options


def program_inputs(program: Module, given: Sequence[str]) -> dict[str, Any]:
    """Inputs of a program from `name=value` arguments; a field that is no text takes JSON.

    Raises:
        InputError: If an argument is not name=value.
    """
    fields = _signature_within(program).input_fields
    inputs: dict[str, Any] = {}
    for argument in given:
        column, equals, value = argument.partition("=")
        if not equals:
            raise ConfigurationError(f"{argument!r}: write name=value, for instance {next(iter(fields))}='…'")
        name = field_name(column)
        if name in inputs:
            raise ConfigurationError(f"input {column!r} is given twice")
        is_text = name not in fields or fields[name].annotation is str
        inputs[name] = value if is_text else _value(value)
    return inputs


def require_writable(path: str) -> None:
    """Refuse a place that a program cannot be saved to, before anything is paid for.

    Raises:
        ProgramError: If it is a folder, or in none that can be written to.
    """
    target = Path(path)
    if target.is_dir():
        raise ProgramError(f"cannot write the program to {path}: it is a folder; name a file in it")
    if not target.parent.is_dir():
        raise ProgramError(f"cannot write the program to {path}: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise ProgramError(f"cannot write the program to {path}: the folder {target.parent} cannot be written to")


def refuse_contradictions(
    *, in_process: bool, detach: bool, resume: bool, run_id: str | None, output: str | None, mlflow: str | None
) -> None:
    """Refuse options of `compile` that cannot both be heeded.

    Raises:
        ConfigurationError: Naming the two.
    """
    if in_process and (detach or resume):
        other = "--detach" if detach else "--resume"
        raise ConfigurationError(
            f"--in-process and {other} exclude each other: only a durable run can be left or resumed"
        )
    if resume and run_id is None:
        raise ConfigurationError("--resume needs --id: name the run to go on from, as `dspex runs list` has it")
    if detach and output is not None:
        raise ConfigurationError("--detach and -o exclude each other: save the program later, with `dspex runs export`")
    if mlflow is not None and (in_process or detach):
        hint = "leave it out" if in_process else "show the run with `dspex runs watch ID --mlflow URI`"
        raise ConfigurationError(f"--mlflow shows a durable run while this command watches it: {hint}")


def budget_of(usd: float | None, calls: int | None, on_limit: str) -> Budget | None:
    """The budget that the options give; None if they give none.

    Raises:
        UnknownNameError: If there is no such way to end.
        ConfigurationError: If a limit does not fit.
    """
    if on_limit not in _ON_LIMIT:
        raise UnknownNameError("--on-limit", on_limit, _ON_LIMIT)
    return None if usd is None and calls is None else Budget(usd=usd, lm_calls=calls, on_limit=on_limit)


def trusted_packages(*paths: str | None) -> list[str]:
    """Packages of the import paths that the user named: to name code on the command line is to trust it."""
    return sorted({path.partition(":")[0].partition(".")[0] for path in paths if path and ":" in path})


def addresses_in(*values: Any) -> list[str]:
    """Addresses of the models that values name, such as a state or an optimizer's options, with their fallbacks."""
    return sorted({config.api_base for value in values for config in _models_in(value) if config.api_base})


def _models_in(value: Any) -> Iterator[LMConfig]:
    if isinstance(value, LMConfig):
        yield value
    if isinstance(value, BaseModel):
        value = [getattr(value, name) for name in type(value).model_fields]
    if isinstance(value, Mapping):
        value = list(cast("Mapping[Any, Any]", value).values())
    if isinstance(value, (list, tuple)):
        for part in cast("Sequence[Any]", value):
            yield from _models_in(part)


def _signature(
    options: TaskOptions, rows: list[dict[str, Any]], val_rows: Sequence[dict[str, Any]]
) -> tuple[type[Signature], dict[str, str], dict[str, str]]:
    if options.signature:
        signature = signature_of(options.signature)
        inputs, outputs = _columns_for(signature, options)
        spec = signature.to_spec()
        if options.instructions:
            spec = spec.model_copy(update={"instructions": options.instructions})
        return spec.build(), inputs, outputs
    inputs, outputs = _columns(options.inputs, "--input"), _columns(options.outputs, "--output")
    twice = sorted(inputs.keys() & outputs.keys())
    if twice:
        raise SignatureError(f"{twice[0]!r} is both an --input and an --output")
    require_columns(rows, (inputs | outputs).values(), path=options.train)
    require_columns(val_rows, (inputs | outputs).values() if val_rows else (), path=options.val or "")
    signature = signature_of_columns(
        rows, inputs, outputs, instructions=options.instructions, path=options.train, further=val_rows
    )
    for name, column in outputs.items():
        if labels := get_args(signature.model_fields[name].annotation):
            _tell_labels_beside(labels, rows, val_rows, column)
    return signature, inputs, outputs


def _tell_labels_beside(
    labels: Sequence[str], rows: Sequence[dict[str, Any]], val_rows: Sequence[dict[str, Any]], column: str
) -> None:
    beside = labels_beside(sorted({row[column] for row in rows}), val_rows, column)
    if not beside:
        return
    more = f" and {len(beside) - _LABELS_TOLD} more" if len(beside) > _LABELS_TOLD else ""
    named = ", ".join(map(repr, beside[:_LABELS_TOLD])) + more
    say(f"column {column!r}: a choice of {len(labels)} texts, {len(beside)} of them in --val alone: {named}")


def _columns_for(signature: type[Signature], options: TaskOptions) -> tuple[dict[str, str], dict[str, str]]:
    """Columns of the fields of a signature: of the same name, unless --input or --output name others, in order."""
    found: list[dict[str, str]] = []
    for fields, given, flag in (
        (signature.input_fields, options.inputs, "--input"),
        (signature.output_fields, options.outputs, "--output"),
    ):
        names = [name for name in fields if name != "reasoning"] if flag == "--output" else list(fields)
        columns = list(_columns(given, flag).values()) if given else names
        if len(columns) != len(names):
            raise ConfigurationError(f"{flag} names {len(columns)} columns, the signature has {len(names)} such fields")
        found.append(dict(zip(names, columns, strict=True)))
    return found[0], found[1]


def _columns(given: str | None, flag: str) -> dict[str, str]:
    columns = [column.strip() for column in (given or "").split(",") if column.strip()]
    if not columns:
        raise ConfigurationError(f"{flag} is missing: name the column, or several with commas between them")
    return {field_name(column): column for column in columns}


def _require_fit(
    rows: Sequence[dict[str, Any]], signature: type[Signature], columns: dict[str, str], *, path: str
) -> None:
    """Refuse rows without the columns, or with values that no field of that type can hold."""
    require_columns(rows, columns.values(), path=path)
    for field, column in columns.items():
        if field not in signature.model_fields or signature.model_fields[field].annotation is str:
            continue
        fits = type_adapter(signature, field)
        for number, row in enumerate(rows):
            try:
                fits.validate_python(row[column])
            except ValidationError as error:
                reason = error.errors(include_url=False, include_input=False)[0]["msg"]
                raise DatasetError(f"{path}: row {number}, column {column!r}: {row[column]!r:.80}: {reason}") from None


def _signature_within(program: Module) -> type[Signature]:
    """What a program takes and gives: its own signature, or what its `forward` takes and its last predictor gives."""
    own = getattr(program, "signature", None)
    if isinstance(own, type) and issubclass(own, Signature):
        return own
    predictors = [predictor.signature for predictor in program.named_predictors().values()]
    if not predictors:
        raise InputError("the program has no predictor")
    taken = program.input_names()
    inputs = list(predictors[0].input_fields) if taken is None else [name for name, must in taken.items() if must]
    # A field that no predictor declares, such as one that only retrieval reads, is text.
    known = {name: field for signature in predictors for name, field in signature.input_fields.items()}
    fields = {name: (known[name].annotation, known[name]) if name in known else InputField() for name in inputs}
    asked = predictors[-1].output_fields
    return signature_of(
        fields | {name: (field.annotation, field) for name, field in asked.items() if name not in inputs}
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)
