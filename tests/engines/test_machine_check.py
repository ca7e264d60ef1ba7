"""Machines are looked at before any work, and what differs is said."""

from __future__ import annotations

import pytest

from edgekit.engines.machine_check import machine_look, refuse_other_machines
from edgekit.errors import MachineError


def test_a_machine_that_has_what_this_one_has_is_taken() -> None:
    refuse_other_machines("Ray", {"here": machine_look()()})


def test_each_machine_that_differs_is_named_with_what_it_lacks() -> None:
    there = machine_look()()
    found = {
        "same": there,
        "older": {**there, "edgekit": "0123", "numpy": ""},
        "silent": RuntimeError("it did not answer\nin time"),
    }
    message = (
        r"^Machines of the Ray cluster differ from this one, and nothing was started:\n"
        r"  older: edgekit 0123 \(here \w+\), numpy missing \(here \S+\)\n"
        r"  silent: it did not answer\n"
        r"Install the same checkout and the same packages there, as its README says\.$"
    )
    with pytest.raises(MachineError, match=message):
        refuse_other_machines("Ray", found)
