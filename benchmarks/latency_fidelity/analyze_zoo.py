"""Analyses every model of the zoo and writes the features that the fit reads.

    python benchmarks/latency_fidelity/analyze_zoo.py --cache FOLDER [--seconds 150] [--only NAME ...]

Each analysis is kept in FOLDER, so that an interrupted run goes on where it stopped, and features can be computed anew
without the models.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path
from typing import Any, Final

from zoo import Builder, Shape, builders, declare_torchvision_operators

from edgekit.analysis.graph import Analysis
from edgekit.workers.structure import read_value, write_value

FEATURES: Final = Path(__file__).parent / "model_features.json"


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long; run again to go on")
    parser.add_argument("--only", nargs="*", default=None)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    models = {n: b for n, b in builders().items() if arguments.only is None or n in arguments.only}
    missing = [name for name in models if not _path(arguments.cache, name).exists()]
    for index, name in enumerate(missing):
        if time.monotonic() - started > arguments.seconds:
            print(f"{len(missing) - index} models to go")
            break
        try:
            analysis = analyze(*models[name])
        except Exception as error:  # one model that does not export must not end the run; it is named
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}")
            continue
        write_value(_path(arguments.cache, name), analysis)
        print(
            f"{name}: {analysis.macs / 1e6:.0f} M MACs, {analysis.parameters / 1e6:.2f} M parameters, {analysis.notes}"
        )
    write_features(arguments.cache, sorted(builders()))


def analyze(build: Builder, shape: Shape) -> Analysis:
    """Returns the analysis of a model in eval mode."""
    import torch

    from edgekit.analysis import graph_builder
    from edgekit.analysis.read_exported import _Reader

    # Nothing here asks how weights deflate, and random weights are not tied: reading them would take minutes.
    graph_builder.deflated_ratios = lambda _: {}
    graph_builder.content_key = lambda values: str(values.ctypes.data)
    declare_torchvision_operators()
    for name in ("kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "normal_", "uniform_", "trunc_normal_"):
        setattr(torch.nn.init, name, _leave)
    # Blocks that switch automatic mixed precision off would be one opaque operator of the graph.
    torch.autocast = lambda *_, **__: contextlib.nullcontext()
    model = build().eval()
    with torch.no_grad():
        program: Any = torch.export.export(model, (torch.zeros(shape),), strict=False)
        return _Reader(program).read()


def _leave(tensor: Any, *_: Any, **__: Any) -> Any:
    return tensor


def write_features(cache: Path, names: list[str]) -> None:
    """Writes the features of all analyses in `cache`."""
    from edgekit.predict.latency_features import count_work

    rows: dict[str, dict[str, float]] = {}
    for name in names:
        path = _path(cache, name)
        if path.exists():
            analysis = read_value(path, Analysis)
            work = {term: float(f"{amount:.6g}") for term, amount in count_work(analysis).items() if amount}
            rows[name] = {"side": analysis.tensors[analysis.inputs[0]].shape[-1], **work}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    FEATURES.write_text("{\n" + lines + "\n}\n")


def _path(cache: Path, name: str) -> Path:
    return cache / f"{name}.json"


if __name__ == "__main__":
    main()
