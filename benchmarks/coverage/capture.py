"""One capture of an architecture, its calibration samples and what the module in torch gives: shared by all cells."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

if TYPE_CHECKING:
    from edgekit.model import CapturedModel

HERE: Final = Path(__file__).parent
CALIBRATION_ROWS: Final = 16
JUDGED_ROWS: Final = 3
DISCRETE_ROWS: Final = 32
"""Calls that judge a module with integer outputs: of three calls one other class would already be a third."""
_SEED: Final = {"calibration": 1000, "judged": 5000}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The calls by which the cells of an architecture are judged.

    Attributes:
        rows: Inputs of each call, flat.
        expected: What the module in torch gives for each, flat.
    """

    rows: list[list[Any]]
    expected: list[list[Any]]


def silent(phrase: str, share: float | None) -> None:
    """Progress that nobody reads."""
    del phrase, share


def flat(value: Any) -> list[Any]:
    """Returns the tensors in nested inputs or outputs as arrays, in torch's own order."""
    import torch
    from torch.utils._pytree import tree_leaves

    leaves = tree_leaves(value)
    return [
        np.asarray(leaf.detach().numpy() if isinstance(leaf, torch.Tensor) else leaf)
        for leaf in leaves
        if leaf is not None
    ]


def is_discrete(array: Any) -> bool:
    """Returns whether an output holds choices, classes or places, not amounts."""
    return np.asarray(array).dtype.kind in "iub"


def drawn(name: str, purpose: str, count: int) -> list[tuple[Any, ...]]:
    """Returns the inputs of `count` calls."""
    from zoo import inputs

    return [inputs(name, _SEED[purpose] + i) for i in range(count)]


def judged(name: str, work: Path) -> Judged:
    """Returns the calls of an architecture and what the module gives, computed on first use; nothing of edgekit's."""
    place = work / "judged" / name
    if not (place / "counts.json").exists() or "rows" not in json.loads((place / "counts.json").read_text()):
        place.mkdir(parents=True, exist_ok=True)
        _judge(name, place)
    data, counts = np.load(place / "rows.npz"), json.loads((place / "counts.json").read_text())
    return Judged(
        rows=[[data[f"i{r}_{i}"] for i in range(counts["inputs"])] for r in range(counts["rows"])],
        expected=[[data[f"o{r}_{i}"] for i in range(counts["outputs"])] for r in range(counts["rows"])],
    )


def _judge(name: str, place: Path) -> None:
    import torch
    from zoo import build

    module, found = build(name), dict[str, Any]()
    outputs: list[Any] = []
    with torch.no_grad():
        for r, row in enumerate(drawn(name, "judged", DISCRETE_ROWS)):
            if r == JUDGED_ROWS and not any(is_discrete(array) for array in outputs):
                break
            arrays, outputs = flat(row), flat(module(*row))
            found |= {f"i{r}_{i}": array for i, array in enumerate(arrays)}
            found |= {f"o{r}_{i}": array for i, array in enumerate(outputs)}
    np.savez(place / "rows.npz", **found)
    counts = {"rows": len(found) // (len(arrays) + len(outputs)), "inputs": len(arrays), "outputs": len(outputs)}
    (place / "counts.json").write_text(json.dumps(counts))


def captured(name: str, work: Path) -> tuple[CapturedModel, Path]:
    """Returns the capture of an architecture and its calibration samples, made on first use.

    Raises:
        EdgekitError: it cannot be captured.
    """
    from edgekit.pipeline.analysis import write_analysis
    from edgekit.samples import write_samples
    from edgekit.sources.base import CaptureRequest
    from edgekit.sources.capture import run
    from edgekit.sources.captured_file import open_captured

    place = work / "captures" / name
    if not (place / "calibration" / "samples.json").exists():
        shutil.rmtree(place, ignore_errors=True)
        request = CaptureRequest(
            source=f"zoo.py:build(name='{name}')",
            base=HERE,
            output=place / "captured",
            name=name.replace(".", "_"),
            example_inputs=f"zoo.py:inputs(name='{name}')",
        )
        model = run(request, silent)
        write_analysis(model, silent)
        names = [spec.name for spec in model.inputs]
        rows = (flat(row) for row in drawn(name, "calibration", CALIBRATION_ROWS))
        write_samples(place / "calibration", names, rows)
    return open_captured(place / "captured"), place / "calibration"
