"""Are plans true? Plans every model for every device, carries some of the plans out, and compares.

    python benchmarks/plan_audit/audit.py --work FOLDER [--only MODEL] [--write]

1. `plan --effort quick` of each model for each profile: what it decides, and how long that takes.
2. For each pair of `subjects.PAIRS`: `plan --effort default -o`, `export --plan`, and `validate` of the artifact in a
   run of its own. Each figure that was measured is held against the plan's verdict and value.

Each finished run is kept in FOLDER, so an interrupted audit goes on where it stopped; remove the folder to measure
anew. `--write` puts the tables into `benchmarks/plan_audit/results.md`. Needs EDGEKIT_SHARED (see ../README.md) and,
for the models with random weights, torchvision.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from agreement import agreement_tables
from subjects import BENCHMARKS, MODELS, PAIRS, arguments

from edgekit.cli.options import Screen, Workers
from edgekit.cli.settings import pipeline_settings
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.capture import capture_model
from edgekit.profiles.profile import list_profiles
from edgekit.task.request import make_request
from edgekit.trials.planning import PlanRequest, plan

SHARED: Final = Path(os.environ.get("EDGEKIT_SHARED", BENCHMARKS.parents[1] / "shared")).resolve()


class Recorder:
    """Runs edgekit and keeps what it said."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, *command: str) -> dict[str, Any]:
        """Returns what `edgekit COMMAND --json` printed, with its exit code and the time it took.

        Raises:
            SystemExit: edgekit refused (exit code 2 or 3), with its message.
        """
        return self.keep(" ".join(command), lambda: self._carry_out(command))

    def keep(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns what `make` returned in an earlier run under this key, or now."""
        name = f"{key.partition(' ')[0]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        path = self._folder / name
        if path.exists():
            kept: dict[str, Any] = json.loads(path.read_text())
            return kept
        found = make()
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=1))
        partial.replace(path)
        return found

    def _carry_out(self, command: tuple[str, ...]) -> dict[str, Any]:
        print("edgekit", *command, file=sys.stderr, flush=True)
        before, started = _cpu_seconds(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "edgekit", *command, "--json"],
            capture_output=True, text=True, check=False, cwd=BENCHMARKS,
        )  # fmt: skip
        if done.returncode not in (0, 1) or not done.stdout:
            raise SystemExit(f"edgekit {' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return {
            "exit": done.returncode,
            "wall": time.perf_counter() - started,
            "cpu": _cpu_seconds() - before,
            "said": json.loads(done.stdout),
        }


def _cpu_seconds() -> float:
    """Returns the processor time of this process and of its children that ended: the machine may be busy otherwise."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def quick_plans(record: Recorder, models: list[str]) -> list[str]:
    """Returns the table of every model on every device, and the time it took.

    A factory's model is built and exported once and not for each device, as a `.pt2` file would be.
    """
    profiles = [profile.name for profile in list_profiles(BENCHMARKS)]
    made = {model: record.keep(f"quick-{model}", lambda model=model: _plan_all(model, profiles)) for model in models}
    lines = ["| device | " + " | ".join(models) + " |", "|---|" + "---|" * len(models)]
    lines += [
        f"| {device} | " + " | ".join(_decision(made[model]["plans"][device]["said"]) for model in models) + " |"
        for device in profiles
    ]
    first = sorted(run["capture_cpu"] for run in made.values())
    later = sorted(plan["cpu"] for run in made.values() for plan in run["plans"].values())
    capture = f"{first[len(first) // 2]:.1f} s in the median (most {first[-1]:.1f} s)"
    quick = f"{later[len(later) // 2]:.2f} s (most {later[-1]:.2f} s)"
    text = (
        f"{len(later)} plans. Processor time: building, exporting and analysing a model {capture}, then a plan {quick}."
    )
    return [*lines, "", text]


def _plan_all(model: str, profiles: list[str]) -> dict[str, Any]:
    """Returns a quick plan of the model for each profile, and what each took."""
    named = arguments(model, SHARED)
    config = (BENCHMARKS / named[named.index("-c") + 1]).resolve()
    given = None if named[0] == "-c" else named[0]
    with pipeline_settings(Screen(quiet=True), Workers(), jobs=1) as (settings, _):
        started = _cpu_seconds()
        request = make_request(model=given, device=profiles[0], config=config, limits={})
        captured = capture_model(request.task, settings)
        analysis = analyze_model(captured, settings)
        taken, plans = _cpu_seconds() - started, {}
        for device in profiles:
            started = _cpu_seconds()
            request = make_request(model=given, device=device, config=config, limits={})
            wanted = PlanRequest(
                task=request.task, model=captured, analysis=analysis, profile=request.profile, budget=request.budget
            )
            said = plan(wanted, settings).to_json()
            plans[device] = {"said": said, "cpu": _cpu_seconds() - started}
    return {"capture_cpu": taken, "plans": plans}


def _decision(plan: dict[str, Any]) -> str:
    chosen = f"{plan['runtime']} {plan['recipe']['default'].replace('_', '-')}" if plan["recipe"] else "nothing"
    if plan["feasible"]:
        return chosen
    missed = sorted({check["name"] for check in plan["checks"] if check["verdict"] == "fail"})
    return f"({chosen} misses {', '.join(missed)})" if missed else f"({chosen})"


def carried_out(record: Recorder, folder: Path, model: str, device: str) -> dict[str, Any]:
    """Returns what was planned for a pair and what came of it."""
    named = arguments(model, SHARED)
    place = folder / "out" / f"{model.split(maxsplit=1)[0]}-{device}"
    place.mkdir(parents=True, exist_ok=True)
    file = str(place / "plan.json")
    plan = record.run("plan", *named, "-d", device, "--effort", "default", "-o", file)
    pair = {"model": model, "device": device, "plan": plan}
    if not plan["said"]["feasible"]:
        # A plan that fits nothing is not carried out; whether that is true is seen by exporting the nearest candidate.
        said = plan["said"]
        precision = said["recipe"]["default"].replace("_", "-").replace("int4-weights", "int4")
        wanted = ["-f", said["runtime"], "-p", precision]
        pair["export"] = record.run("export", *named, "-d", device, *wanted, "-o", str(place / "artifacts"))
    else:
        pair["export"] = record.run("export", *named, "--plan", file, "-d", device, "-o", str(place / "artifacts"))
    entry = pair["export"]["said"]["formats"][0]
    if entry["artifact"] is not None:
        artifact = str(place / "artifacts" / Path(entry["artifact"]["path"]).name)
        pair["validate"] = record.run("validate", artifact, *_model_of(named), "-d", device)
    return pair


def _model_of(named: list[str]) -> list[str]:
    """Returns the arguments for `validate`, whose positional argument is the artifact."""
    return named if named[0].startswith("-") else ["--model", *named]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for finished runs and artifacts")
    parser.add_argument("--only", choices=sorted(MODELS), action="append", help="audit this model only")
    parser.add_argument("--quick", action="store_true", help="only the first table")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    work = options.work.resolve()
    record = Recorder(work)
    models = options.only or list(MODELS)
    text = ["## Every model on every device, quick", "", *quick_plans(record, models), ""]
    if not options.quick:
        pairs = [carried_out(record, work, *pair) for pair in PAIRS if pair[0] in models]
        text += agreement_tables(pairs)
    print("\n".join(text))
    if options.write:
        path = Path(__file__).with_name("results.md")
        head, _, _ = path.read_text().partition("## Every model")
        path.write_text(head + "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
