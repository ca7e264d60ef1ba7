"""What practice knows about precisions, as data: what they lost where they were measured, and which is fast where.

A rule speaks about precisions, where it says so only for some families, kinds of devices or CPU features. A format's
own rules are asked before the general ones (see `planner.rules`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, final

from edgekit.model import Family
from edgekit.recipe import Precision

Question = Literal["loss", "speed"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a candidate would run: what rules ask about."""

    family: Family
    runtime: str
    device_kind: str
    features: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that practice knows.

    Attributes:
        question: `loss`: how much accuracy a precision is expected to lose. `speed`: how fast it runs against float.
        precisions: About which precisions.
        rank: The answer, smaller is better. Loss: a key of `rules.LOSS_POINTS`. Speed: a key of `rules.SPEED_WORDS`.
        reason: Why, for people; a clause that follows "because".
        families: Only these; empty for all.
        device_kinds: Only these; empty for all.
        needs: CPU features that the device must have.
        lacks: CPU features that the device must not have.
    """

    question: Question
    precisions: tuple[Precision, ...]
    rank: int
    reason: str
    families: tuple[Family, ...] = ()
    device_kinds: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    def fits(self, question: Question, precision: Precision, setting: Setting) -> bool:
        """Returns True if the rule answers `question` about `precision` in `setting`."""
        return (
            self.question == question
            and precision in self.precisions
            and (not self.families or setting.family in self.families)
            and (not self.device_kinds or setting.device_kind in self.device_kinds)
            and all(feature in setting.features for feature in self.needs)
            and not any(feature in setting.features for feature in self.lacks)
        )


SLOW_DYNAMIC_CONVOLUTIONS: Final = Rule(
    question="speed", precisions=("int8_dynamic",), families=("cnn",), rank=3,
    reason="ranges found at run time make convolutions 2 to 9 times slower than float",
)  # fmt: skip

HALVES_IN_XNNPACK: Final = Rule(
    question="speed", precisions=("fp16",), needs=("fp16",), rank=1,
    reason="XNNPACK computes in 16-bit float on this CPU",
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDrop:
    """What one model lost in a format, as `benchmarks/results/int8_accuracy.md` has it.

    Attributes:
        model: Its name.
        metric: By which it was judged.
        family: Its family.
        precision: The recipe's default.
        drop: In percentage points.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    model: str
    metric: str
    family: Family
    precision: Precision
    drop: float
    low: float
    high: float


def efficientnet_lite0(precision: Precision, drop: float, low: float, high: float) -> MeasuredDrop:
    """Returns a row of EfficientNet-Lite0."""
    return MeasuredDrop(
        model="EfficientNet-Lite0", metric="agreement", family="cnn", precision=precision, drop=drop, low=low, high=high
    )


def tiny_resnet(precision: Precision, drop: float, low: float, high: float) -> MeasuredDrop:
    """Returns a row of MLPerf Tiny's ResNet."""
    return MeasuredDrop(
        model="MLPerf Tiny ResNet", metric="top1", family="cnn", precision=precision, drop=drop, low=low, high=high
    )


def minilm(precision: Precision, drop: float, low: float, high: float) -> MeasuredDrop:
    """Returns a row of the sentence encoder."""
    return MeasuredDrop(
        model="all-MiniLM-L6-v2", metric="spearman", family="transformer", precision=precision, drop=drop, low=low,
        high=high,
    )  # fmt: skip


def resemblyzer(precision: Precision, drop: float, low: float, high: float) -> MeasuredDrop:
    """Returns a row of the speaker encoder."""
    return MeasuredDrop(
        model="Resemblyzer", metric="cosine", family="rnn", precision=precision, drop=drop, low=low, high=high
    )
