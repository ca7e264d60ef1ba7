"""wer: 1 - word error rate: edits over words of the targets, all items together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from edgekit.errors import DataError
from edgekit.metrics.item_metric import ItemMetric, Statistic
from edgekit.metrics.libraries import jiwer_library
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.text import Speller, edit_statistic

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
class Wer(ItemMetric):
    """The word error rate of a speech or text recognizer.

    Args:
        alphabet: Characters of the classes in order, with the space, the blank left out.
        blank: Class of the blank; a negative number counts from the end.
        collapse: Whether the same class twice in a row is one character (CTC).
    """

    name: str = "wer"
    targets: ClassVar[Literal["row", "pair", "table"]] = "table"
    sentence: ClassVar[str] = "1 - wer {own} %, float {float} %, on {count} {things}"

    def __init__(self, *, alphabet: str = "", blank: int = 0, collapse: bool = True) -> None:
        if " " not in alphabet:
            raise DataError(
                f'The metric wer: the alphabet is "{alphabet}"; expected the characters of the classes, with the space '
                "that separates words. Without one, use the metric cer."
            )
        self._speller = Speller(metric=self.name, alphabet=alphabet, blank=blank, collapse=collapse)

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's edits."""
        library = jiwer_library(self.name)

        def count(wanted: str, found: str) -> tuple[int, int]:
            edits = library.process_words(wanted, found)
            missed = edits.substitutions + edits.deletions
            return missed + edits.insertions, missed + edits.hits

        return edit_statistic(self._speller.targets(data), self._speller.spell(outputs[0], data.names[0]), count)

    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the text of each row."""
        import numpy as np

        return np.asarray(self._speller.spell(outputs[0], data.names[0]))
