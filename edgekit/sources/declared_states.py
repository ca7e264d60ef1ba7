"""States that a model has as inputs and outputs already, and that the task names in pairs."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.errors import ConfigError
from edgekit.model import State, TensorSpec


def declared_states(
    pairs: Sequence[tuple[str, str]], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[State, ...]:
    """Returns the states that the task names; they begin with zeros.

    Args:
        pairs: (output, input): what a call gives there, the next one takes.
        inputs: The model's.
        outputs: The model's.

    Raises:
        ConfigError: no such input or output, or two that differ in shape or dtype; all faults at once.
    """
    takes, gives = {spec.name: spec for spec in inputs}, {spec.name: spec for spec in outputs}
    faults: list[str] = []
    for output, name in pairs:
        if output not in gives:
            faults.append(f'there is no output "{output}"; the outputs are {", ".join(gives)}')
        elif name not in takes:
            faults.append(f'there is no input "{name}"; the inputs are {", ".join(takes)}')
        elif (gives[output].shape, gives[output].dtype) != (takes[name].shape, takes[name].dtype):
            faults.append(
                f'the output "{output}" is {_form(gives[output])} and the input "{name}" {_form(takes[name])}; '
                "a state has one form"
            )
    if faults:
        raise ConfigError(f'[state]: {"; ".join(faults)}. Write each pair as "output" = "input".')
    return tuple(State(input=name, output=output) for output, name in pairs)


def _form(spec: TensorSpec) -> str:
    return f"{spec.dtype} {spec.shape}"
