"""Runs cases of kinds of file and judges each: the oracle of the fuzzing.

    python campaign.py KIND:FIRST:CASES ... --seeds FOLDER [--seed N] [--keep FOLDER]
    python campaign.py --corpus FOLDER --seeds FOLDER

Prints a JSON object for each kind: how often each exit code came, and the anomalies. A case is fixed by its kind, the
seed and its number. `--keep` writes the changed file of each anomaly, with its record, where the corpus can take it
from. Kinds run in the order of `KINDS`: what one has imported serves those that follow.

Each case is a proper result, or an error whose message names the file: exit code 0, 1, 2, 3; no traceback, no exit code
4, nothing left behind, no PASS on what fails, no hang, no memory that the file does not explain.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import random
import re
import resource
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[3])]

from fuzzing.forked_run import Ran, remove, run_forked  # noqa: E402  a script that finds its neighbours
from fuzzing.kinds import KINDS, Act, Kind  # noqa: E402  a script that finds its neighbours
from fuzzing.mutations import change_content  # noqa: E402  a script that finds its neighbours
from fuzzing.preloading import preload  # noqa: E402  a script that finds its neighbours

SOUND_CODES = (0, 1, 2, 3)
_FRAME = re.compile(r'^\s+File "[^"]+", line \d+, in', re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """A case that ended as none may.

    Attributes:
        kind: The kind of file.
        number: The case's number.
        act: Who read it.
        target: Which file was changed.
        what: What is wrong.
        code: Exit code.
        said: The end of what was written.
    """

    kind: str
    number: int
    act: str
    target: str
    what: str
    code: int
    said: str


def judge(ran: Ran, kind: Kind, act: Act, target: str) -> str:
    """Returns what is wrong with how a case ended, "" where nothing is."""
    if ran.limit:
        return f"it reached {ran.limit}"
    if ran.code not in SOUND_CODES:
        return f"exit code {ran.code}"
    if "Traceback (most recent call last)" in ran.said or _FRAME.search(ran.said):
        return "a traceback"
    if ran.left:
        return f"left behind: {', '.join(ran.left[:5])}"
    if ran.code in (2, 3) and not any(name in ran.said for name in (Path(target).name, *kind.named)):
        return "the message does not name the file"
    if ran.code in (2, 3) and not ran.said.strip():
        return "no message"
    if ran.code == 0 and act.is_verdict:
        return "PASS"
    return "a control character in what was written" if _CONTROL.search(ran.said) else ""


def changed_bytes(kind: Kind, target: str, content: bytes, rng: random.Random) -> bytes:
    """Returns a changed file, never the same bytes."""
    for _ in range(20):
        if kind.mutation is None:
            made = change_content(rng, target, content)
        else:
            made = kind.mutation(rng, content) if rng.random() < 0.8 else change_content(rng, target, content)
        if made != content:
            return made
    return content + b"\x00"


def lay_out(kind: Kind, seeds: Path, work: Path) -> None:
    """Puts a kind's seeds into the folder of a run."""
    work.mkdir()
    for name, origin in kind.files.items():
        if (seeds / origin).is_dir():
            shutil.copytree(seeds / origin, work / name)
        else:
            shutil.copyfile(seeds / origin, work / name)
    if kind.prepare is not None:
        kind.prepare(work)


def case(name: str, number: int, seed: int, seeds: Path, place: Path) -> tuple[str, str, bytes]:
    """Lays out a case; returns the act's name, the target and its bytes."""
    kind = KINDS[name]
    rng = random.Random(hashlib.sha256(f"{name} {seed} {number}".encode()).digest())
    lay_out(kind, seeds, place / "work")
    target = rng.choice(kind.targets)
    acts = list(kind.acts)
    act = rng.choices(acts, [kind.acts[one].weight for one in acts])[0]
    made = changed_bytes(kind, target, (place / "work" / target).read_bytes(), rng)
    (place / "work" / target).write_bytes(made)
    return act, target, made


def run_cases(
    name: str, numbers: Iterable[int], seed: int, seeds: Path, keep: Path | None = None
) -> tuple[Counter[int], list[Anomaly]]:
    """Returns how often each exit code came, and the anomalies."""
    codes: Counter[int] = Counter()
    found: list[Anomaly] = []
    for number in numbers:
        place = Path(tempfile.mkdtemp(prefix="edgekit-fuzz-"))
        try:
            act, target, made = case(name, number, seed, seeds, place)
            ran, what = run_one(name, act, target, place)
            codes[ran.code] += 1
            if what:
                found.append(
                    Anomaly(
                        kind=name,
                        number=number,
                        act=act,
                        target=target,
                        what=what,
                        code=ran.code,
                        said=ran.said[-1500:],
                    )
                )
                if keep is not None:
                    _keep(keep, found[-1], made)
        finally:
            remove(place)
    return codes, found


def replay(corpus: Path, seeds: Path) -> tuple[Counter[int], list[Anomaly]]:
    """Runs the cases of a corpus: folders with a changed file and `case.json`, which says who fell over it."""
    codes: Counter[int] = Counter()
    found: list[Anomaly] = []
    for number, folder in enumerate(sorted(corpus.iterdir())):
        reported = json.loads((folder / "case.json").read_text())
        place = Path(tempfile.mkdtemp(prefix="edgekit-fuzz-"))
        try:
            lay_out(KINDS[reported["kind"]], seeds, place / "work")
            shutil.copyfile(folder / Path(reported["target"]).name, place / "work" / reported["target"])
            ran, what = run_one(reported["kind"], reported["act"], reported["target"], place)
            codes[ran.code] += 1
            if what:
                found.append(Anomaly(**{**reported, "what": what}, number=number, code=ran.code, said=ran.said[-1500:]))
        finally:
            remove(place)
    return codes, found


def run_one(name: str, act: str, target: str, place: Path) -> tuple[Ran, str]:
    """Runs an act on what lies in `place/work`; returns how it ended and what is wrong with that."""
    kind = KINDS[name]
    ran = run_forked(kind.acts[act].run, place, may_write=kind.acts[act].may_write)
    return ran, judge(ran, kind, kind.acts[act], target)


def import_what_is_needed(name: str, seeds: Path) -> None:
    """Imports here what the kind's acts import: later children are forked with all of it."""
    for act in KINDS[name].acts.values():
        codes = (1,) if act.is_verdict else (0, 1)
        preload(act.run, lambda place: lay_out(KINDS[name], seeds, place / "work"), codes)


def _keep(folder: Path, anomaly: Anomaly, content: bytes) -> None:
    place = folder / f"{anomaly.kind.replace(' ', '_')}-{anomaly.number}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "anomaly.json").write_text(json.dumps(asdict(anomaly), indent=1))
    (place / Path(anomaly.target).name).write_bytes(content)


def cpu_seconds() -> float:
    """Returns the CPU time of this process and of all its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def say_result(kind: str, codes: Counter[int], found: list[Anomaly], cpu_s: float) -> None:
    anomalies = [asdict(one) for one in found]
    result = {"kind": kind, "codes": dict(codes), "anomalies": anomalies, "cpu_s": round(cpu_s, 1)}
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ranges", nargs="*", metavar="KIND:FIRST:CASES")
    parser.add_argument("--corpus", type=Path, help="folder of cases to run again")
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    seeds = options.seeds.resolve()
    ranges = {kind: (int(first), int(cases)) for kind, first, cases in (one.split(":") for one in options.ranges)}
    for kind in sorted(ranges, key=list(KINDS).index):
        started = cpu_seconds()
        first, cases = ranges[kind]
        import_what_is_needed(kind, seeds)
        gc.freeze()  # or each child would touch, and so copy, every object of its parent
        codes, found = run_cases(kind, range(first, first + cases), options.seed, seeds, options.keep)
        say_result(kind, codes, found, cpu_seconds() - started)
    if options.corpus:
        started = cpu_seconds()
        codes, found = replay(options.corpus, seeds)
        say_result("corpus", codes, found, cpu_seconds() - started)


if __name__ == "__main__":
    main()
