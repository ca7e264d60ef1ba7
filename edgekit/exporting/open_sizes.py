"""Artifacts with open sizes: rows at the smallest, typical and largest size, and the worst of what is judged there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.budget import cost_of
from edgekit.checks import Check
from edgekit.model import CapturedModel, OpenSizes
from edgekit.samples import Samples, write_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST: Final = "largest"
"""The size at which memory and latency are judged."""

_ROWS: Final = 8
_AT_EVERY_SIZE: Final = ("parity", "parity_floor", "integer_outputs", "outputs_alive")
_AT_LARGEST: Final = ("memory", "latency", "latency_p95")
_WORSE: Final = ("pass", "inconclusive", "not_run", "fail")


def samples_at(model: CapturedModel, data: Samples | None, sizes: Mapping[str, int], folder: Path) -> Samples:
    """Returns rows at one size: the data's own, cut or repeated to that size; made-up ones where there is no data.

    Args:
        model: It has open sizes.
        data: The task's evaluation data.
        sizes: One size of each dimension.
        folder: Where the rows are written.
    """
    opened: Any = model.open_sizes
    shapes = opened.shapes_at(model.inputs, sizes)
    names = [spec.name for spec in model.inputs]
    if data is None:
        dtypes = [spec.dtype for spec in model.inputs]
        rows = [tuple(made_up_row(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True))]
    else:
        found = data.rows(range(min(_ROWS, data.count)))
        rows = [tuple(_fitted(array, shape) for array, shape in zip(row, shapes, strict=True)) for row in found]
    return write_samples(folder, names, rows)


def made_up_row(shape: Sequence[int], dtype: str, seed: int = 0) -> NDArray[Any]:
    """Returns values of a size: random floats; ones for integers, a valid id in every table."""
    import numpy as np

    if dtype.startswith("float"):
        return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return np.ones(shape, dtype)


def _fitted(array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Returns an array cut to `shape`, or repeated where it is smaller: its values stay those of the data."""
    import numpy as np

    for axis, size in enumerate(shape):
        if array.shape[axis] != size:
            array = np.take(array, np.arange(size) % array.shape[axis], axis=axis)
    return np.ascontiguousarray(array)


def worst_checks(
    own: Sequence[Check], by_size: Mapping[str, Sequence[Check]], opened: OpenSizes
) -> tuple[tuple[Check, ...], list[dict[str, Any]]]:
    """Returns the checks with the worst of all sizes, and the figures at each size for the report.

    Args:
        own: Checks on the evaluation data, whatever its sizes; memory and latency are those at the largest.
        by_size: Word for a size (`smallest`) to the checks there.
        opened: What is open.
    """
    at = {word: {check.name: check for check in checks} for word, checks in by_size.items()}
    words = {word: _words(sizes) for word, sizes in opened.sizes().items()}
    checks: list[Check] = []
    for check in own:
        if check.name in _AT_LARGEST:
            checks.append(replace(check, detail=f"At the largest size ({words[LARGEST]}). {check.detail}".rstrip()))
        elif check.name in _AT_EVERY_SIZE:
            found = {f"at {word} size ({words[word]})": known[check.name] for word, known in at.items()}
            every = {"on the evaluation data": check, **found}
            checks.append(check if all(one.value is None for one in every.values()) else _worst(every))
        else:
            checks.append(check)
    shown = [
        {"size": word, "dimensions": sizes, **{name: at[word][name].value for name in _AT_EVERY_SIZE}}
        for word, sizes in opened.sizes().items()
    ]
    return tuple(checks), shown


def _worst(checks: Mapping[str, Check]) -> Check:
    def badness(place: str) -> tuple[int, float]:
        check = checks[place]
        value = 0.0 if check.value is None else check.value
        return _WORSE.index(check.verdict), value if cost_of(check.name).at_most else -value

    place = max(checks, key=badness)
    each = ", ".join(f"{where} {_figure(check)}" for where, check in checks.items())
    return replace(checks[place], detail=f"Worst {place}: {checks[place].detail} All: {each}.")


def _figure(check: Check) -> str:
    return check.shown_as if check.value is None else f"{check.value:.4g} {check.unit}"


def _words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())
