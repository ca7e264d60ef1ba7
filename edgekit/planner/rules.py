"""What practice knows about precisions, as data: which one is lossy, which one is fast, where, and how that is known.

A rule speaks about precisions, where it says so only for some families, kinds of devices or CPU features. For each
question the first rule that fits answers, a format's own (`Format.practice`) before these. A new technique or device
joins by a new row. Figures are from INT8 exports of EfficientNet-Lite0, all-MiniLM and small models in their own
runtimes, one thread.
"""

from __future__ import annotations

from typing import Final

from edgekit.formats.practice import SLOW_DYNAMIC_CONVOLUTIONS, Question, Rule, Setting
from edgekit.formats.table import known_format
from edgekit.model import Family
from edgekit.recipe import Precision

LOSS_POINTS: Final = {0: 0.0, 1: 0.1, 2: 0.5, 3: 1.0, 4: 5.0, 5: 50.0}
"""Loss class to what a model of that class usually stays under, in percentage points."""

SPEED_WORDS: Final = {
    0: "faster than float",
    1: "somewhat faster than float",
    2: "no faster than float",
    3: "slower than float",
}
"""Speed class to words."""

_SEQUENCE: Final[tuple[Family, ...]] = ("transformer", "rnn", "mixed")

RULES: Final[tuple[Rule, ...]] = (
    Rule(question="loss", precisions=("fp32",), rank=0, reason="it computes as the trained model does"),
    Rule(
        question="loss", precisions=("fp16",), rank=1,
        reason="16-bit float keeps 46 to 62 dB and changes a decision in a thousand at most",
    ),
    Rule(
        question="loss", precisions=("int8_static", "w8a16"), families=("transformer", "mixed"), rank=5,
        reason="calibrated 8-bit activations ruin attention: a sentence encoder falls to a cosine of 0.35",
    ),
    Rule(
        question="loss", precisions=("int8_static", "w8a16"), families=("rnn",), rank=4,
        reason="errors of calibrated 8-bit states add up over the time steps",
    ),
    Rule(
        question="loss", precisions=("int8_static", "w8a16"), rank=3,
        reason="per-channel weights and calibrated ranges keep 97 to 98 % of a CNN's decisions",
    ),
    Rule(
        question="loss", precisions=("int8_hybrid",), rank=3,
        reason="convolutions lose what they lose in a CNN, and attention keeps float activations",
    ),
    Rule(
        question="loss", precisions=("int8_dynamic",), rank=2,
        reason="each activation gets its own range at run time: 19 to 27 dB on a sentence encoder",
    ),
    Rule(question="loss", precisions=("int8_weights",), rank=2, reason="only the weights are rounded, to 8 bits"),
    Rule(
        question="loss", precisions=("int4_weights",), rank=4,
        reason="4-bit weights rounded to the nearest keep only 7 to 12 dB on a sentence encoder",
    ),
    Rule(question="speed", precisions=("fp32",), rank=2, reason="it is the float model itself"),
    SLOW_DYNAMIC_CONVOLUTIONS,
    Rule(
        question="speed", precisions=("int8_static",), rank=0,
        reason="integer kernels run at about half of float's time",
    ),
    Rule(
        question="speed", precisions=("int8_dynamic",), rank=0,
        reason="integer matrix products run at a third to a half of float's time",
    ),
    Rule(
        question="speed", precisions=("int8_hybrid",), rank=0,
        reason="convolutions and matrix products have integer kernels, each their own",
    ),
    Rule(
        question="speed", precisions=("fp16",), lacks=("fp16",), rank=2,
        reason="this CPU has no 16-bit float arithmetic: weights are widened at load",
    ),
    Rule(
        question="speed", precisions=("fp16",), rank=2,
        reason="this runtime's CPU kernels widen 16-bit float to 32",
    ),
    Rule(
        question="speed", precisions=("int8_weights",), rank=2,
        reason="weights are widened and the arithmetic is float",
    ),
    Rule(
        question="speed", precisions=("int4_weights",), families=_SEQUENCE, rank=1,
        reason="4-bit matrix products run at 0.3 to 0.8 of float's time",
    ),
    Rule(question="speed", precisions=("int4_weights",), rank=2, reason="weights are widened before use"),
    Rule(question="speed", precisions=("w8a16",), rank=3, reason="most runtimes have only reference kernels for it"),
)  # fmt: skip
"""In order, after those of the format: for one question the first that fits answers, so what is special stands before
what is general."""

HINTS: Final[tuple[tuple[str, str], ...]] = (
    ("unstructured pruning", "zeros make the download smaller and nothing faster on dense hardware"),
    ("structured pruning", "needs training data to recover; worth it from 2 points of allowed loss on"),
    ("distillation", "needs training data; worth it from 5 points of allowed loss on, or for more than 4 x"),
)
"""What else can be done where nothing fits, and what it needs."""


def find_rule(question: Question, precision: Precision, setting: Setting) -> Rule:
    """Returns the rule that answers `question`; every precision has one.

    Raises:
        LookupError: the table has a hole; a bug, which a test over all settings keeps out.
    """
    made = known_format(setting.runtime)
    for rule in (*(made.practice if made else ()), *RULES):
        if rule.fits(question, precision, setting):
            return rule
    raise LookupError(f"No rule says the {question} of {precision} for {setting}.")
