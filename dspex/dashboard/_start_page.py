from dataclasses import dataclass
from typing import Any

from nicegui import ui

from dspex.dashboard._board import Board
from dspex.dashboard._elements import box, button, page_frame, run_address, section, words
from dspex.dashboard._fields import Choice, Entry, amount_in, notice
from dspex.dashboard._program_part import shown
from dspex.dashboard._table import Column, Table
from dspex.dashboard._uploads import FileField
from dspex.tasks import examples_of, field_name, signature_of_columns
from dspex_core.budget import Budget
from dspex_core.datasets import hold_out
from dspex_core.errors import ConfigurationError, DSPExError
from dspex_core.lm import LM
from dspex_core.modules import module_named
from dspex_core.optimizers import optimizer_named

_ROWS_SHOWN = 5
_LONGEST_CELL = 200
_ROLES = (("input", "input"), ("output", "output"), ("", "left out"))
_OPTIMIZERS = (
    "bootstrap_few_shot",
    "bootstrap_few_shot_with_random_search",
    "mipro_v2",
    "gepa",
    "copro",
    "simba",
    "infer_rules",
    "labeled_few_shot",
)
_METRICS = ("exact_match", "f1", "contains")
_MODULES = ("predict", "chain_of_thought")


@dataclass(frozen=True)
class _Data:
    """A file that was sent."""

    name: str
    rows: list[dict[str, Any]]


async def start_page(board: Board) -> None:
    """A form that starts a run on rows of a file."""
    with page_frame("Start a run", here="/start"):
        words("h1", "Start a run")
        words("p", "A fifth of the rows is held out to score on. Workers call the model, with the keys that they have.")
        _Form(board)


class _Form:
    def __init__(self, board: Board) -> None:
        self._board = board
        self._data: _Data | None = None
        self._roles: dict[str, Choice] = {}
        with section("Rows", "form"):
            FileField("Data file, with a row a line and a header (.csv, .tsv, .jsonl, .json, .parquet)", self._take)
            self._about = box("div")
        with section("Program", "form"):
            self._instructions = Entry("Task in words", lines=3, hint="As told to the model; may be left empty.")
            self._module = _choice("Module", _MODULES)
        with section("Search", "form"):
            self._optimizer = _choice("Optimizer", _OPTIMIZERS)
            self._metric = _choice("Metric", _METRICS)
            self._model = Entry("Model", value="openai/gpt-4o-mini", hint="Provider and model.")
            self._api_base = Entry("Address of the model", hint="Only for a server of your own; workers must trust it.")
            self._dollars = Entry(
                "Budget in US dollars",
                inputmode="decimal",
                hint="No limit if left empty; a run that has reached it waits for a larger one.",
            )
            self._calls = Entry("Most LM calls", inputmode="numeric", hint="No limit if left empty.")
            self._id = Entry("Name of the run", hint="Made up if left empty.")
        self._trouble = notice()
        self._start = button("Start the run", self._begin, "main")

    async def _take(self, key: str) -> None:
        self._trouble.show("")
        try:
            name, rows = await self._board.uploads.rows(key)
        except DSPExError as error:
            self._data = None
            self._about.clear()
            self._trouble.show(str(error))
            return
        self._data = _Data(name, rows)
        self._about.clear()
        with self._about:
            self._preview(self._data)

    def _preview(self, data: _Data) -> None:
        columns = list(data.rows[0])
        words("p", f"{data.name}: {len(data.rows):,} rows. The first ones:", "soft")
        table = Table("First rows", [Column(str(n), name, kind="long") for n, name in enumerate(columns)], empty="")
        table.show(
            [
                (str(n), [shown(row.get(name))[:_LONGEST_CELL] for name in columns])
                for n, row in enumerate(data.rows[:_ROWS_SHOWN])
            ]
        )
        with box("div", "filters", role="group", **{"aria-label": "What each column is"}):
            self._roles = {name: Choice(name, _roles(last=name == columns[-1])) for name in columns}

    async def _begin(self) -> None:
        self._start.props["disabled"] = "disabled"
        self._trouble.show("")
        try:
            run_id = await self._run()
        except DSPExError as error:
            self._trouble.show(str(error))
        else:
            ui.navigate.to(run_address(run_id))
        finally:
            self._start.props.pop("disabled", None)

    async def _run(self) -> str:
        data = self._data
        if data is None:
            raise ConfigurationError("Choose a data file first.")
        budget = self._budget()
        inputs, outputs = self._columns("input"), self._columns("output")
        if not inputs or not outputs:
            raise ConfigurationError("At least one column must be an input, and one an output.")
        signature = signature_of_columns(
            data.rows, inputs, outputs, instructions=self._instructions.value.strip(), path=data.name
        )
        train, val = hold_out(data.rows)
        run = await self._board.client.compile(
            module_named(self._module.value)(signature),
            optimizer=optimizer_named(self._optimizer.value).from_options({"metric": self._metric.value}),
            trainset=examples_of(train, inputs, outputs),
            valset=examples_of(val, inputs, outputs),
            lm=LM(self._model.value.strip(), api_base=self._api_base.value.strip() or None),
            id=self._id.value.strip() or None,
            budget=budget,
        )
        return run.id

    def _budget(self) -> Budget | None:
        dollars = amount_in(self._dollars.value, what="Budget in US dollars")
        calls = amount_in(self._calls.value, what="Most LM calls", whole=True)
        return None if dollars is calls is None else Budget(usd=dollars, lm_calls=calls)

    def _columns(self, role: str) -> dict[str, str]:
        return {field_name(column): column for column, choice in self._roles.items() if choice.value == role}


def _choice(label: str, names: tuple[str, ...]) -> Choice:
    return Choice(label, [(name, name.replace("_", " ")) for name in names])


def _roles(*, last: bool) -> list[tuple[str, str]]:
    """What a column may be; the last one of a file is most often what is to be found out."""
    return [_ROLES[1], _ROLES[0], _ROLES[2]] if last else list(_ROLES)
