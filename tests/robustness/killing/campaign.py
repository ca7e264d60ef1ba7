"""Kills commands at random moments, as drawn by seed and number, and prints a JSON object for each kill.

    python campaign.py --ground FOLDER [--victims plan,export] [--seed N] [--first N] [--cases N] [--forked]

A script of its own: it adopts all orphans of its children, and ends them.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[3])]

from fuzzing.forked_run import command  # noqa: E402  a script that finds its neighbours
from fuzzing.preloading import preload  # noqa: E402  a script that finds its neighbours
from killing.kill import Start, Undisturbed, adopt_orphans, kill, lay_out, observe  # noqa: E402  the same
from killing.starts import start_forked, start_real  # noqa: E402  a script that finds its neighbours
from killing.victims import VICTIMS, Victim  # noqa: E402  a script that finds its neighbours

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("parent", "group", "all")
EVEN_CPU_S = 5.0
"""Real commands of so many CPU seconds, or fewer, are drawn equally often; dearer ones less often."""

Drawn = tuple[signal.Signals, str, float]
Record = dict[str, Any]


def draw(
    seed: int, number: int, victims: list[str], *, forked: bool, signals: Sequence[signal.Signals] = SIGNALS
) -> tuple[str, Drawn]:
    """Returns the victim of a case, the signal, who gets it, and the share of the undisturbed time."""
    rng = random.Random(hashlib.sha256(f"{seed} {number}".encode()).digest())
    weights = [1.0 if forked else min(1.0, EVEN_CPU_S / VICTIMS[name].cpu_s) for name in victims]
    return rng.choices(victims, weights)[0], (rng.choice(signals), rng.choice(TARGETS), rng.random())


def run_case(name: str, drawn: Drawn, known: Undisturbed, ground: Path, start: Start) -> Record:
    """Kills once; where the command had ended already, it is killed sooner."""
    number, to, share = drawn
    while True:
        place = Path(tempfile.mkdtemp(prefix="edgekit-kill-"))
        after_s = share * known.seconds
        found = kill(start, VICTIMS[name], known, ground, place, after_s=after_s, number=number, to=to)
        if not found.wrong:
            shutil.rmtree(place)
        if found.hit or found.wrong:
            return {
                "victim": name, "signal": number.name, "to": to, "share": round(share, 3), "after_s": round(after_s, 2),
                "code": found.code, "gone_s": round(found.gone_s, 1), "wrong": list(found.wrong),
                **({"kept": found.kept} if VICTIMS[name].keeps else {}),
            }  # fmt: skip
        share *= 0.7


def meet(victim: Victim, ground: Path, start: Start) -> Undisturbed:
    """Returns what a command does undisturbed; for forks, what it imports is imported here before."""
    if start is start_forked:
        preload(command(*victim.arguments), lambda place: lay_out(victim, ground, place), (0, 1))
        gc.freeze()
    return observe(start, victim, ground, Path(tempfile.mkdtemp(prefix="edgekit-kill-")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ground", type=Path, required=True)
    parser.add_argument("--victims", default=",".join(VICTIMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--signals", default="KILL,TERM,INT")
    parser.add_argument("--except", dest="known", default="", help="numbers to pass over")
    parser.add_argument("--forked", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    adopt_orphans()
    start = start_forked if options.forked else start_real
    undisturbed: dict[str, Undisturbed] = {}
    passed_over = {int(number) for number in options.known.split(",") if number}
    for number in range(options.first, options.first + options.cases):
        if number in passed_over:
            continue
        signals = [signal.Signals[f"SIG{name}"] for name in options.signals.split(",")]
        name, drawn = draw(options.seed, number, options.victims.split(","), forked=options.forked, signals=signals)
        if name not in undisturbed:
            undisturbed[name] = meet(VICTIMS[name], options.ground.resolve(), start)
        record = run_case(name, drawn, undisturbed[name], options.ground.resolve(), start)
        sys.stdout.write(json.dumps({"n": number, **record}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
