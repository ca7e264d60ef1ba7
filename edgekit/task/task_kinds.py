"""Tasks that `[data] task` may name: which metrics each has, and which targets those compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

DEFAULT_METRIC: Final = "agreement"
"""Where a task says neither a metric nor what the model does."""

Targets = Literal["class", "boxes", "instances", "poses", "mask"]
"""What is read of annotated pictures."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKind:
    """A kind of task.

    Attributes:
        metrics: Its metrics, the default first.
        agreement: The metric that compares with the float model where there are no labels; "" for the default metric
            against the float model's decisions.
        targets: What is read of annotated pictures; None where they say nothing about this task.
    """

    metrics: tuple[str, ...]
    agreement: str = ""
    targets: Targets | None = None


TASKS: Final[Mapping[str, TaskKind]] = {
    "classification": TaskKind(metrics=("top1", "top5", "macro_f1"), agreement="agreement"),
    "detection": TaskKind(metrics=("map", "map50"), targets="boxes"),
    "instance_segmentation": TaskKind(metrics=("mask_map", "map", "map50"), targets="instances"),
    "segmentation": TaskKind(metrics=("miou",), targets="mask"),
    "pose": TaskKind(metrics=("oks_map", "pck"), targets="poses"),
    "depth": TaskKind(metrics=("abs_rel", "delta1")),
    "super_resolution": TaskKind(metrics=("psnr", "ssim")),
    "retrieval": TaskKind(metrics=("recall_at_k", "spearman", "cosine"), agreement="cosine"),
    "text": TaskKind(metrics=("cer", "wer")),
    "regression": TaskKind(metrics=("mae", "rmse", "r2")),
    "anomaly": TaskKind(metrics=("auroc",)),
}
"""Name of the task to what it has."""


def kind_of_metric(metric: str) -> TaskKind | None:
    """Returns the kind of task that a metric is of, by its name; None for others."""
    return next((kind for kind in TASKS.values() if metric in kind.metrics), None)
