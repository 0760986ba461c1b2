import ast
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from dspex_core.datasets import label_values, read_rows, require_columns

TRIAGE = Path(__file__).parents[2] / "examples" / "triage"
TICKETS = TRIAGE / "tickets.csv"
TEAMS = ["account", "billing", "bug", "feature_request", "security", "shipping"]


@pytest.fixture(scope="module")
def rows():
    return read_rows(TICKETS)


def test_there_are_300_messages_for_six_teams(rows):
    require_columns(rows, ["message", "team"], path=TICKETS)
    assert len(rows) == 300
    assert label_values(rows, "team") == TEAMS


def test_every_team_has_its_share(rows):
    assert min(Counter(row["team"] for row in rows).values()) >= 35


def test_no_message_is_there_twice(rows):
    assert len({" ".join(row["message"].casefold().split()) for row in rows}) == len(rows)


def test_messages_do_not_follow_a_template(rows):
    openings = Counter(" ".join(row["message"].casefold().split()[:3]) for row in rows)
    assert max(openings.values()) <= 4
    lengths = [len(row["message"]) for row in rows]
    assert min(lengths) < 40
    assert max(lengths) > 300


def test_the_file_is_not_sorted_by_team(rows):
    changes = sum(row["team"] != following["team"] for row, following in pairwise(rows))
    assert changes > 200


def test_the_script_declares_the_teams_of_the_file():
    tree = ast.parse((TRIAGE / "triage.py").read_text(encoding="utf-8"))
    literals = [
        [item.value for item in node.slice.elts if isinstance(item, ast.Constant)]
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple)
    ]
    assert TEAMS in literals
