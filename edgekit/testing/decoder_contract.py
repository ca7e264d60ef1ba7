"""What every decoder promises: boxes inside of reason, by shapes that it knows, the same for the same outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.heads.decoder import Decoder
from edgekit.heads.table import find_decoder
from edgekit.registry import decoder_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DecoderContract:
    """Inherit it as `class TestName(DecoderContract)` and implement `example`.

    Class attributes:
        name: The decoder, as its entry point calls it.
        settings: Settings with which the example is read.
        size: Height and width of the example's input.
    """

    name: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    size: ClassVar[tuple[int, int]] = (64, 96)

    def example(self) -> tuple[NDArray[Any], ...]:
        """Returns outputs of one picture, without the batch, that hold at least one confident box."""
        raise NotImplementedError

    def decoder(self, **settings: object) -> Decoder:
        """Returns the decoder with the example's settings and these."""
        return find_decoder(self.name, {**self.settings, **settings})

    def test_it_is_registered_under_its_name(self) -> None:
        assert self.name in decoder_targets()
        assert self.decoder().title

    def test_it_takes_its_own_outputs(self) -> None:
        shapes = tuple(array.shape for array in self.example())
        assert self.decoder().why_not(shapes, self.size) is None

    def test_boxes_are_finite_corners_with_scores_from_high_to_low(self) -> None:
        found = self.decoder().decode(self.example(), self.size)
        assert len(found.scores)
        assert np.isfinite(found.boxes).all()
        assert found.boxes.shape == (len(found.scores), 4)
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert (found.classes >= 0).all()

    def test_the_limit_of_the_score_and_the_largest_number_hold(self) -> None:
        every = self.decoder(score=0.0).decode(self.example(), self.size)
        assert (self.decoder(score=0.5).decode(self.example(), self.size).scores >= 0.5).all()
        assert len(self.decoder(score=0.0, most=1).decode(self.example(), self.size).scores) == min(
            1, len(every.scores)
        )

    def test_the_same_outputs_give_the_same_boxes_and_are_left_alone(self) -> None:
        outputs = self.example()
        before = [array.copy() for array in outputs]
        first, second = self.decoder().decode(outputs, self.size), self.decoder().decode(outputs, self.size)
        assert np.array_equal(first.boxes, second.boxes)
        assert all(np.array_equal(a, b) for a, b in zip(before, outputs, strict=True))

    def test_other_outputs_are_refused_with_a_reason(self) -> None:
        with pytest.raises(DataError, match=r"^The outputs are no head of .*they have the shapes \(7, 7, 7, 7, 7\)"):
            self.decoder().decode((np.zeros((7, 7, 7, 7, 7)),), self.size)
