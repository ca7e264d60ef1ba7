"""Photographs through one TFLite artifact on all cores, read anew, beside LiteRT alone with the same decoding.

    python benchmarks/streamed_evaluation.py ARTIFACT [--photographs 5000] [--rounds 3] [--limit 500MB] [--write]

The photographs of `data/imagenet500` are repeated. The bare side is a process a core, each of which decodes its share
and runs it, and keeps the outputs; edgekit's side is `collect_evidence` on a set that is larger than its limit on disk.
Both are run in turn, and their outputs must be the same bytes. What lies on disk is looked at ten times a second.
Needs EDGEKIT_SHARED (see README.md), and an artifact that takes (1, 3, 224, 224) or (1, 224, 224, 3) float32, such as
that of `edgekit export -d pi4 --format tflite --precision int8`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.model import TensorSpec
from edgekit.pipeline.settings import Settings
from edgekit.samples import Samples
from edgekit.task.data import MATERIALIZE, DataRequest
from edgekit.task.data_limit import data_limit_bytes
from edgekit.task.pictures import read_image
from edgekit.task.sample_feed import SampleSource, reopened
from edgekit.task.task import ImagePreprocessing
from edgekit.units import format_bytes
from edgekit.validators.execution import collect_evidence, describe_artifact
from edgekit.workers.cache import Cache

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "tasks"))

STEPS = ImagePreprocessing(resize=224)
LOAD = f" (load before: {os.getloadavg()[0]:.1f}, so CPU seconds say more than wall)" if os.getloadavg()[0] > 1 else ""


def repeated_photographs(folder: Path, count: int) -> list[Path]:
    """Fills a folder with links to the photographs, repeated."""
    from shared_data import shared

    photographs = sorted(shared("data/imagenet500").glob("*.jpg"))
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:06}.jpg").symlink_to(photographs[i % len(photographs)])
    return sorted(folder.iterdir())


def bare_share(arguments: tuple[str, TensorSpec, list[Path], Path]) -> None:
    """Decodes and runs a share of the photographs with LiteRT: one process of the bare side."""
    from ai_edge_litert.interpreter import Interpreter

    artifact, spec, files, output = arguments
    interpreter: Any = Interpreter(artifact, num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = np.empty((len(files), *made["shape"][1:]), made["dtype"])
    for i, file in enumerate(files):
        interpreter.set_tensor(given["index"], read_image(file, spec, STEPS))
        interpreter.invoke()
        outputs[i] = interpreter.get_tensor(made["index"])[0]
    np.save(output, outputs)


def run_bare(artifact: Path, spec: TensorSpec, files: list[Path], folder: Path) -> NDArray[Any]:
    """Returns the outputs of all photographs, from one process a core."""
    cores = os.cpu_count() or 1
    shares = [(str(artifact), spec, files[k::cores], folder / f"bare-{k}.npy") for k in range(cores)]
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(bare_share, shares)
    parts = [np.load(folder / f"bare-{k}.npy") for k in range(cores)]
    outputs = np.empty((len(files), *parts[0].shape[1:]), parts[0].dtype)
    for k, part in enumerate(parts):
        outputs[k::cores] = part
    return outputs


def size_of(path: Path) -> int:
    """Returns the bytes of a file, 0 for a link and for a part that was taken away meanwhile."""
    try:
        return 0 if path.is_symlink() else path.stat().st_size
    except OSError:
        return 0


@contextmanager
def watched_disk(folder: Path) -> Generator[list[int], None, None]:
    """Yields a list whose one entry becomes the largest size that a folder had, looked at ten times a second."""
    largest, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
            largest[0] = max(largest[0], sum(map(size_of, files)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield largest
    done.set()
    thread.join()


def run_ours(artifact: Artifact, samples: Samples, folder: Path) -> NDArray[Any]:
    evidence = collect_evidence(artifact, folder=folder, evaluation=samples, pieces=("outputs",))
    if evidence.outputs is None:
        raise SystemExit(evidence.why_missing("outputs"))
    return np.asarray(evidence.outputs.arrays()[0])


def clock() -> tuple[float, float]:
    """Returns (wall seconds, CPU seconds of this process and of its children that have ended)."""
    used = os.times()
    return time.monotonic(), used.user + used.system + used.children_user + used.children_system


def since(before: tuple[float, float]) -> tuple[float, float]:
    """Returns what has passed of both."""
    now = clock()
    return now[0] - before[0], now[1] - before[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--photographs", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", default="500 MB")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    os.environ["EDGEKIT_DATA_SIZE"] = options.limit
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "edgekit": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        working = folder / "working"
        working.mkdir()
        tempfile.tempdir = str(working)  # where parts wait
        files = repeated_photographs(folder / "photographs", options.photographs)
        artifact = describe_artifact(options.artifact)
        (spec,) = artifact.inputs
        settings = Settings(cache=Cache(root=working / "cache"))
        with watched_disk(working) as disk:
            started = time.monotonic()
            samples = read_photographs(spec, folder, working / "samples", settings)
            reading = time.monotonic() - started
            for round_ in range(options.rounds):
                before = clock()
                expected = run_bare(options.artifact, spec, files, folder)
                times["bare"].append(since(before))
                before = clock()
                found = run_ours(artifact, samples, working / f"run-{round_}")
                times["edgekit"].append(since(before))
                if expected.tobytes() != found.tobytes():
                    raise SystemExit("The outputs differ from those of the bare runtime.")
    lines = table(times, reading, disk[0], 4 * int(np.prod(spec.shape)), options)
    print("\n".join(lines))
    if options.write:
        text = (
            "# Evaluation data that are read anew\n\n"
            f"Output of `python benchmarks/streamed_evaluation.py {options.artifact.name} --photographs "
            f"{options.photographs} --rounds {options.rounds}` on {os.cpu_count()} cores{LOAD}. The outputs were the "
            "same bytes in all rounds. Goal: at least 80 % of the bare runtime's speed on all cores.\n\n"
        )
        (HERE / "results" / "streamed_evaluation.md").write_text(text + "\n".join(lines) + "\n")


def table(
    times: dict[str, list[tuple[float, float]]], reading: float, disk: int, row_bytes: int, options: argparse.Namespace
) -> list[str]:
    """Returns the lines of the table; `times` holds (wall, CPU) seconds a round, of both sides."""
    (bare, bare_cpu), (ours, own_cpu) = (
        [statistics.median(pair[i] for pair in times[side]) for i in (0, 1)] for side in ("bare", "edgekit")
    )
    count = options.photographs
    rounds = ", ".join(f"{b[0]:.1f} / {o[0]:.1f}" for b, o in zip(*times.values(), strict=True))
    return [
        "| | |",
        "|---|---|",
        f"| photographs, rounds | {count}, {options.rounds} |",
        f"| bare LiteRT, a process a core | {bare:.1f} s, {count / bare:.0f} a second; {bare_cpu:.1f} CPU s |",
        f"| edgekit, read anew | {ours:.1f} s, {count / ours:.0f} a second; {own_cpu:.1f} CPU s |",
        f"| speed, of the bare runtime's | {bare / ours:.0%} by wall, {bare_cpu / own_cpu:.0%} by CPU |",
        f"| each round, wall | {rounds} s |",
        f"| first reading (once a data set) | {reading:.1f} s |",
        f"| rows as float32 | {format_bytes(count * row_bytes)} |",
        f"| most on disk, limit {options.limit} and outputs included | {format_bytes(disk)} |",
        f"| 50,000 photographs, from these | {50_000 * ours / count / 60:.1f} min |",
    ]


def read_photographs(spec: TensorSpec, folder: Path, place: Path, settings: Settings) -> Samples:
    """Returns the photographs as evaluation data: read once, and not kept."""
    request = DataRequest(
        reference="photographs",
        base=folder,
        purpose="evaluation",
        inputs=(spec,),
        metric="agreement",
        preprocessing=STEPS,
        folder=place,
        most_bytes=data_limit_bytes(),
    )
    settings.run("reading of the photographs", MATERIALIZE, request)
    return reopened(place, SampleSource(data=request))


if __name__ == "__main__":
    main()
