"""Which function of a task takes which parameter of a search, and the task of one variant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from edgekit.errors import ConfigError, DataError, InputError, ModelError
from edgekit.searching.grid import Variant
from edgekit.task.references import Value, parse_reference
from edgekit.task.task import SearchSpace, Task

Role = Literal["factory", "example_inputs", "calibration", "evaluation", "batches", "held_out"]
"""The functions of a task that a parameter is handed to. A metric and a loss see outputs and targets only."""

_TITLES: Final[Mapping[Role, str]] = {
    "factory": "[model] source",
    "example_inputs": "[model] example_inputs",
    "calibration": "[data] calibration",
    "evaluation": "[data] evaluation",
    "batches": "[training] batches",
    "held_out": "[training] held_out",
}

_ERRORS: Final[Mapping[Role, type[InputError]]] = {"factory": ModelError, "calibration": DataError}

Bindings = Mapping[str, Sequence[Role]]
"""Parameter to the functions that have it."""


def references_of(task: Task, space: SearchSpace) -> dict[Role, str]:
    """Returns the task's functions by role; what is a file or a folder, or is not there, is left out."""
    training = task.training
    named: dict[Role, str | None] = {
        "factory": space.factory or task.model,
        "example_inputs": task.example_inputs,
        "calibration": task.calibration,
        "evaluation": task.evaluation,
        "batches": training.batches if training else None,
        "held_out": training.held_out if training else None,
    }
    return {role: text for role, text in named.items() if text is not None and _is_function(text, task.base)}


def _is_function(text: str, base: Path) -> bool:
    return ":" in text and not (base / text).exists()


def find_bindings(references: Mapping[Role, str], parameters: Sequence[str], base: Path) -> Bindings:
    """Returns for each parameter the functions that name it. Loads user code: call it in a worker process.

    A function with `**kwargs` names nothing by that.

    Raises:
        ConfigError: a reference is wrong, or no function names a parameter; all such parameters at once.
    """
    from edgekit.task.user_code import load_object, parameter_names

    known: dict[Role, tuple[str, ...]] = {}
    for role, text in references.items():
        names = parameter_names(load_object(text, base, _TITLES[role])) or ()
        # The first one of batches is the epoch, whatever it is called.
        known[role] = names[1:] if role == "batches" else names
    found: dict[str, list[Role]] = {
        name: [role for role, names in known.items() if name in names] for name in parameters
    }
    faults = [_unknown(name, known) for name, roles in found.items() if not roles]
    if faults:
        looked = ", ".join(dict.fromkeys(references.values()))
        raise ConfigError(
            "\n".join([f"[search]: {'; '.join(faults)}", f"Functions of the task that were looked at: {looked}."])
        )
    return found


def _unknown(name: str, known: Mapping[Role, Sequence[str]]) -> str:
    names = sorted({item for items in known.values() for item in items})
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" (did you mean {' or '.join(near)}?)" if near else f" (they have {', '.join(names) or 'none'})"
    return f'no function of the task has a parameter "{name}"{hint}'


def bind(references: Mapping[Role, str], arguments: Mapping[str, Value], bindings: Bindings) -> dict[Role, str]:
    """Returns the references with each argument set in the functions that name it."""
    bound: dict[Role, str] = {}
    for role, text in references.items():
        taken = {name: value for name, value in arguments.items() if role in bindings[name]}
        bound[role] = str(parse_reference(text, _TITLES[role], _ERRORS.get(role, ConfigError)).with_arguments(taken))
    return bound


def task_of(task: Task, variant: Variant, references: Mapping[Role, str]) -> Task:
    """Returns the task of one variant, whose functions are `references`, bound."""
    training = task.training
    if training is not None:
        training = replace(
            training, batches=references["batches"], held_out=references.get("held_out", training.held_out)
        )
    return replace(
        task,
        model=references["factory"],
        example_inputs=references.get("example_inputs", task.example_inputs),
        calibration=references.get("calibration", task.calibration),
        evaluation=references.get("evaluation", task.evaluation),
        training=training,
        metadata={**task.metadata, "name": variant.name},
        embedded_default=False,
    )
