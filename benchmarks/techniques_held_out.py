"""What techniques cost on calibration samples that they did not see: float outputs, nothing converted, minutes.

    python benchmarks/techniques_held_out.py [--task TASK] [--fit N] [--judge N] [STEPS ...]

Each STEPS is one or more techniques as `--technique` takes them, in one argument, separated by spaces. They are fitted
on some of the task's calibration samples and judged on others: no judging data is touched, so this is what settings are
chosen by. For `round_weights` the figure is that of the rounded weights alone. Needs EDGEKIT_SHARED.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

from int8_accuracy import HERE

from edgekit.sources.captured_file import write_captured

STEPS = (
    "drop_layers",
    "prune_heads",
    "round_weights:method=nearest,bits=4,group_size=32",
    "round_weights:bits=4,group_size=32",
    "smooth_activations:method=awq round_weights:bits=4,group_size=32",
    "factorize:keep=0.8",
    "factorize:keep=0.8,rank=budget",
    "share_weights",
    "sparsify",
    "sparsify:method=layer,refits=no",
    "sparsify:method=random",
)


def captured(task: str, folder: Path, count: int) -> tuple[Any, Any]:
    """Returns a benchmark's model as techniques take it, and `count` of its calibration samples."""
    import torch

    from edgekit.model import CapturedModel
    from edgekit.torch_program import program_facts
    from edgekit.torch_program.canonical_program import canonical

    spec = importlib.util.spec_from_file_location("benchmark_task", HERE / "tasks" / task / "task.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{task} is no folder of benchmarks/tasks with a task.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = [tuple(torch.as_tensor(item) for item in row) for row in islice(module.calibration(), count)]
    program = canonical(torch.export.export(module.build(), rows[0], strict=False), rows[0], task)
    found = program_facts.save(program, folder, program_facts.count_parameters(program.parameters()))
    model = CapturedModel(
        name=task, source=task, source_kind="torch", kind="pt2", path=folder / found.file, inputs=found.inputs,
        outputs=found.outputs, digest=found.digest, parameters=found.parameters, macs=found.architecture.macs,
        family=found.architecture.family,
    )  # fmt: skip
    write_captured(model, folder)
    return model, rows


def outputs(model: Any, rows: list[Any]) -> Any:
    import torch

    from edgekit.torch_program.program_archive import load_program

    run = load_program(model.path, model.source).module(check_guards=False)
    with torch.no_grad():
        return torch.cat([run(*row) for row in rows]).double()


def line_of(steps: str, model: Any, fit: Any, judge: list[Any], expected: Any, folder: Path) -> str:
    from edgekit.errors import EdgekitError
    from edgekit.task.technique_text import split_step
    from edgekit.techniques.base import Context
    from edgekit.techniques.base import technique as find_technique
    from edgekit.workers.worker import silent

    began = time.process_time()
    changed = model
    try:
        for i, text in enumerate(steps.split()):
            name, settings = split_step(text, "STEPS")
            technique = find_technique(name).from_settings(settings, "STEPS")
            context = Context(samples=fit, scratch=folder / "scratch", progress=silent)
            changed = technique.run(changed, context, folder / f"{i}")
    except EdgekitError as error:
        return f"| {steps} | {error.message.splitlines()[0]} | | | |"
    seconds = time.process_time() - began
    got = outputs(changed, judge)
    decibels = float(10 * (expected.square().sum() / (got - expected).square().sum()).log10())
    return (
        f"| {steps} | {decibels:.1f} dB | {changed.parameters / model.parameters:.2f} | "
        f"{(changed.macs or 0) / (model.macs or 1):.2f} | {seconds:.0f} s |"
    )


def main() -> None:
    from edgekit.samples import write_samples

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", default=list(STEPS), metavar="STEPS")
    parser.add_argument("--task", default="minilm")
    parser.add_argument("--fit", type=int, default=70)
    parser.add_argument("--judge", type=int, default=30)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, rows = captured(options.task, folder, options.fit + options.judge)
        # Every so manieth sample judges, so that both parts are of one kind.
        places = {int(i * len(rows) / options.judge) for i in range(options.judge)}
        judge = [row for i, row in enumerate(rows) if i in places]
        names = [item.name for item in model.inputs]
        fitted = (tuple(t.numpy() for t in row) for i, row in enumerate(rows) if i not in places)
        fit = write_samples(folder / "fit", names, fitted)
        expected = outputs(model, judge)
        print("| techniques | SQNR of held-out samples | weights | MACs | CPU |\n|---|---|---|---|---|")
        for i, steps in enumerate(options.steps):
            (folder / f"steps-{i}").mkdir()
            print(line_of(steps, model, fit, judge, expected, folder / f"steps-{i}"), flush=True)


if __name__ == "__main__":
    sys.exit(main())
