"""What cer and wer share: the text that an output spells, and the edits between two texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError
from edgekit.metrics.item_metric import Statistic, targets_of
from edgekit.metrics.metric import is_integer
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FIRST: Final = 0x20000
"""Characters that stand for class numbers where no alphabet is given: no text of a person's holds so many of them."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Speller:
    """How class numbers become text.

    Attributes:
        metric: Who reads it.
        alphabet: Characters of the classes in order, the blank left out; "" compares class numbers.
        blank: Class that separates (CTC); a negative number counts from the end.
        collapse: Whether the same class twice in a row is one character (CTC).
    """

    metric: str
    alphabet: str = ""
    blank: int = 0
    collapse: bool = True

    def spell(self, output: NDArray[Any], name: str) -> list[str]:
        """Returns the text of each row: scores (rows, steps, classes), or class numbers (rows, steps).

        Raises:
            DataError: another shape, or another number of classes than the alphabet has.
        """
        import numpy as np

        classes = len(self.alphabet) + 1 if self.alphabet else None
        squeezed = output.reshape(len(output), *[size for size in output.shape[1:] if size != 1])
        if squeezed.ndim == 3 and not is_integer(output):
            if classes not in (None, squeezed.shape[2]):
                raise DataError(
                    f"The metric {self.metric}: the alphabet has {len(self.alphabet)} characters, with the blank "
                    f'{classes} classes; output "{name}" has {squeezed.shape[2]}. Give the alphabet of the model.'
                )
            classes, chosen = squeezed.shape[2], squeezed.argmax(2)
        elif squeezed.ndim == 2 and is_integer(output):
            chosen = squeezed
        else:
            raise DataError(
                f"The metric {self.metric} needs scores (1, steps, classes) or class numbers (1, steps); output "
                f'"{name}" is {output.dtype} of shape {(1, *output.shape[1:])}.'
            )
        blank = self.blank if self.blank >= 0 else (classes or 0) + self.blank
        return [self._text(np.asarray(row, np.int64), blank) for row in chosen]

    def targets(self, data: MetricData) -> list[str]:
        """Returns the text of each target: text itself, or class numbers padded with -1.

        Raises:
            DataError: there are none, or others.
        """
        targets = targets_of(self.metric, data, "text")
        if targets.dtype.kind == "U":
            return [str(value) for value in targets.reshape(-1)]
        if not is_integer(targets):
            raise DataError(
                f"The metric {self.metric} needs text with each item, or its class numbers; the targets are "
                f"{targets.dtype} of shape {(1, *targets.shape[1:])}."
            )
        blank = self.blank if self.blank >= 0 else len(self.alphabet) + 1 + self.blank
        return ["".join(self._letter(int(number), blank) for number in row if number >= 0) for row in targets]

    def _text(self, row: NDArray[np.int64], blank: int) -> str:
        import numpy as np

        first = np.concatenate([[True], row[1:] != row[:-1]]) if self.collapse else np.ones(len(row), np.bool_)
        return "".join(self._letter(int(number), blank) for number in row[first & (row != blank) & (row >= 0)])

    def _letter(self, number: int, blank: int) -> str:
        if not self.alphabet:
            return chr(_FIRST + number)
        place = number - 1 if number > blank else number
        return self.alphabet[place] if place < len(self.alphabet) else "\ufffd"


def edit_statistic(wanted: list[str], found: list[str], count: Callable[[str, str], tuple[int, int]]) -> Statistic:
    """Returns 1 - edits / length over all items, each item's kept.

    Args:
        wanted: Texts of the targets.
        found: Texts of the outputs.
        count: Returns (edits, length) of two texts, the first of which is not empty.
    """
    import numpy as np

    counts = np.asarray([count(a, b) if a else (len(b), 0) for a, b in zip(wanted, found, strict=True)])

    def figure(chosen: NDArray[np.int64]) -> float:
        edits, length = counts[chosen].sum(0)
        return float(1 - edits / length) if length else float(np.nan)

    return Statistic(figure=figure)
