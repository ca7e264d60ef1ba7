"""The tree of errors and the exit codes that it stands for."""

from __future__ import annotations

import inspect

import pytest

from edgekit import errors

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.EdgekitError) and cls is not errors.EdgekitError
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_a_fault_of_the_input_of_the_machine_or_edgekits_own_or_a_verdict(
    cls: type[errors.EdgekitError],
) -> None:
    codes = {errors.VerdictError: 1, errors.InputError: 2, errors.MachineError: 3, errors.InternalError: 4}
    assert [cls.exit_code] == [code for base, code in codes.items() if issubclass(cls, base)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_can_cross_from_a_worker_process(cls: type[errors.EdgekitError]) -> None:
    assert errors.ERRORS_BY_NAME[cls.__name__] is cls


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_drawn_in_the_tree(cls: type[errors.EdgekitError]) -> None:
    assert cls.__name__ in (errors.__doc__ or "")


def test_an_error_says_what_it_was_given() -> None:
    error = errors.DataError("two\nlines")
    assert error.message == "two\nlines"
    assert str(error) == "two\nlines"
