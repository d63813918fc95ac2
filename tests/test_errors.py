"""Problems read as one line; a name that is not in a table is named with the nearest ones."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import InputError, Problem, Refused, lookup, problems_of

TABLE = {"cosine": 1, "constant": 2, "step": 3}


def test_a_known_name_gives_its_entry() -> None:
    assert lookup(TABLE, "step", "schedule") == 3


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(ValueError) as caught:
        lookup(TABLE, "cosin", "schedule")
    assert str(caught.value) == ("found 'cosin', expected a schedule; did you mean 'cosine'?")


def test_a_far_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError) as caught:
        lookup(TABLE, "xyz", "schedule")
    assert str(caught.value) == "found 'xyz', expected a schedule; there are: cosine, constant, step"


def test_a_far_name_in_a_long_table_lists_the_five_most_like_it() -> None:
    table = dict.fromkeys(["adamw", "adam", "sgd", "lamb", "lion", "rmsprop", "nadam", "adafactor"])
    with pytest.raises(ValueError) as caught:
        lookup(table, "zzz", "optimizer")
    (problem,) = problems_of(caught.value)
    listed = problem.remedy.removeprefix("there are: ").removesuffix(", …").split(", ")
    assert len(listed) == 5 and set(listed) < set(table)


def test_a_problem_reads_as_place_found_expected_remedy() -> None:
    problem = Problem("lr", "found 0", "a positive number", "set 3e-4")
    assert str(problem) == "lr: found 0, expected a positive number; set 3e-4"
    assert str(problem.below("train")) == "train.lr: found 0, expected a positive number; set 3e-4"
    assert str(Problem("", "found 0").below("train")) == "train: found 0"
    assert problems_of(Refused(problem)) == (problem,) and problems_of(ValueError("x")) == (Problem("", "x"),)
    error = InputError(problem, Problem("", "another"))
    assert error.lines == [str(problem), "another"] and str(error) == f"{problem}\nanother"
    again = pickle.loads(pickle.dumps(error))  # as a fold's process hands it over
    assert type(again) is InputError and again.problems == error.problems and str(again) == str(error)
