"""The kinds of file that edgekit reads: where the seed lies, how it is changed, and who reads it.

An act is a command of edgekit or one of its readers, run in a folder where one file of the kind was changed. Light acts
come often, whole commands now and then: they cost ten times as much and read the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fuzzing.forked_run import command, reading
from fuzzing.mutations import Mutation, change_json, change_toml

from edgekit.model import TensorSpec
from edgekit.workers.process_folder import temporary_folder
from edgekit.workers.worker import Job, JobOptions, run_job, silent

IMAGE = TensorSpec(name="image", shape=(1, 3, 16, 16), dtype="float32", layout="NCHW")
KEY = "fuzz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One way to read a file.

    Attributes:
        run: Returns an exit code; runs in the folder with the changed file.
        weight: How often it comes.
        may_write: Files that it may make.
        is_verdict: Exit code 0 is a PASS, and the seed's own verdict is FAIL.
    """

    run: Callable[[], int]
    weight: int = 1
    may_write: tuple[str, ...] = ()
    is_verdict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of file.

    Attributes:
        files: Name in the folder of a run to the path of the seed; folders are copied whole.
        targets: Those of the names, or of files below them, of which one is changed.
        acts: Name to act.
        mutation: What changes the bytes; by default what the target's suffix says.
        named: What a message must hold one of, beside the target's own name.
        prepare: Called with the folder of a run before the file is changed.
    """

    files: Mapping[str, str]
    targets: tuple[str, ...]
    acts: Mapping[str, Act]
    mutation: Mutation | None = None
    named: tuple[str, ...] = ()
    prepare: Callable[[Path], object] | None = None


def capture(source: str, kind: str, *, as_torch: bool = False) -> Callable[[], int]:
    """Returns what captures a model, in a worker process."""

    def read(_: Path) -> None:
        from edgekit.sources import capture
        from edgekit.sources.base import CaptureRequest

        with temporary_folder("capture") as folder:
            requested = CaptureRequest(
                source=source, base=Path.cwd(), output=folder / "out", name="net", kind=kind, as_torch=as_torch
            )
            run_job(Job(work=capture.run), requested, JobOptions(title="capture"))

    return reading(read)


def classify(source: str) -> Callable[[], int]:
    def read(folder: Path) -> None:
        from edgekit.sources.table import classify

        classify(source, folder)

    return reading(read)


def describe(name: str) -> Callable[[], int]:
    """Returns what lets an artifact's runtime describe it."""

    def read(folder: Path) -> None:
        from edgekit.validators.execution import describe_artifact

        describe_artifact(folder / name)

    return reading(read)


def graph(name: str, reader: str) -> Callable[[], int]:
    """Returns what reads the graph and the precisions of a finished file, in a worker process."""

    def read(folder: Path) -> None:
        from edgekit.analysis.finished_file import READ_FINISHED, FinishedFileRequest
        from edgekit.artifact import measure_files

        requested = FinishedFileRequest(reader=reader, path=folder / name, sizes={})
        run_job(READ_FINISHED, requested, JobOptions(title="reading"))
        measure_files(folder / name)

    return reading(read)


def data(reference: str, purpose: str) -> Callable[[], int]:
    """Returns what reads calibration or evaluation data as a worker process does."""

    def read(_: Path) -> None:
        from edgekit.task.data import DataRequest, materialize
        from edgekit.task.task import ImagePreprocessing

        with temporary_folder("data") as folder:
            materialize(
                DataRequest(
                    reference=reference,
                    base=Path.cwd(),
                    purpose=purpose,
                    inputs=(IMAGE,),
                    metric="top1",
                    preprocessing=ImagePreprocessing(),
                    folder=folder / "samples",
                ),
                silent,
            )

    return reading(read)


def request(config: str) -> Callable[[], int]:
    """Returns what makes a request of a task file."""

    def read(folder: Path) -> None:
        from edgekit.task.request import make_request

        make_request(model=None, device="pi4", config=folder / config, limits={})

    return reading(read)


def found_request(_: Path) -> None:
    from edgekit.task.request import make_request

    make_request(model=None, device="pi4", config=None, limits={})


def plan_file(folder: Path) -> None:
    from edgekit.trials.choice import read_plan_file

    plan = read_plan_file(folder / "plan.json", decided=False).plan
    plan.to_json()


def measurement(folder: Path) -> None:
    from edgekit.measurements.measurement import read_measurement

    read_measurement(folder / "bench.json").to_json()


def prepare_samples(folder: Path) -> None:
    import numpy as np

    from edgekit.samples import SampleWriter

    with SampleWriter(folder / "samples", ["image"]) as writer:
        for i in range(4):
            writer.add((np.full((1, 3, 16, 16), i, "f4"),))
            writer.add_item(np.int64(i))


def prepare_entry(folder: Path) -> None:
    from edgekit.workers.entry_digests import write_digests

    entry = folder / "kept" / "kind" / "key"
    entry.mkdir(parents=True)
    (entry / "model.json").write_text('{"a": [1, 2, 3]}')
    (entry / "weights.bin").write_bytes(bytes(range(256)))
    write_digests(entry)


def cache_entry(folder: Path) -> None:
    from edgekit.workers.cache import Cache

    sound = {"model.json": b'{"a": [1, 2, 3]}', "weights.bin": bytes(range(256))}

    def build(place: Path) -> None:
        for name, content in sound.items():
            (place / name).write_bytes(content)

    found = Cache(root=folder.absolute() / "kept").make("kind", "key", build)
    if any((found / name).read_bytes() != content for name, content in sound.items()):
        raise AssertionError("a damaged entry was used")
    shutil.rmtree(folder / "kept" / ".running")  # this process's own folder goes when it ends


def prepare_journal(folder: Path) -> None:
    from edgekit.simulation.sensitivity import LayerNoise
    from edgekit.workers.journal_parts import write_part

    write_part(folder, "layer-1", LayerNoise(module="conv", precision="int8_static", noise=0.25))


def journal(folder: Path) -> None:
    from edgekit.simulation.sensitivity import LayerNoise
    from edgekit.workers.journal_parts import read_part

    found = read_part(folder, "layer-1", LayerNoise, silent)
    if found not in (None, LayerNoise(module="conv", precision="int8_static", noise=0.25)):
        raise AssertionError(f"a damaged part was used: {found}")


def prepare_checkpoint(folder: Path) -> None:
    import torch

    from edgekit.training.checkpoint import write_checkpoint

    write_checkpoint(folder / "training.ckpt", KEY, {"epoch": 1, "module": {"w": torch.arange(64.0)}})


def checkpoint(folder: Path) -> None:
    import torch

    from edgekit.training.checkpoint import read_checkpoint

    found = read_checkpoint(folder / "training.ckpt", KEY)
    if found is not None and (found["epoch"] != 1 or not torch.equal(found["module"]["w"], torch.arange(64.0))):
        raise AssertionError("a damaged checkpoint was used")


def profile(folder: Path) -> None:
    from edgekit.profiles.profile import find_profile

    find_profile("board.toml", folder.absolute())


def judged(*arguments: str, weight: int = 1, may_write: tuple[str, ...] = ()) -> Act:
    """Returns a command whose exit code is a verdict."""
    return Act(run=command(*arguments, "--no-color"), weight=weight, may_write=may_write, is_verdict=True)


def artifact_acts(name: str, reader: str = "") -> dict[str, Act]:
    """Returns how an artifact is read, beside the float model that it was made from."""
    model = ("-m", "net.onnx", "--evaluation", "eval.npz", "--metric", "top1")
    acts = {
        "describe": Act(run=describe(name), weight=14),
        "plan": Act(run=command("plan", name, "-d", "pi4", "--max-size", "1 kB", "--no-color"), is_verdict=True),
        "validate": judged("validate", name, "-d", "pi4", *model, "--max-size", "1 kB"),
        "debug": Act(run=command("debug", name, *model[:2], "--calibration", "cal.npz", "--no-color")),
    }
    if reader:
        acts["graph"] = Act(run=graph(name, reader), weight=12)
    return acts


ARTIFACT_FILES = {name: name for name in ("net.onnx", "cal.npz", "eval.npz")}
PACKAGE = {"art.mlpackage": "out/net-int8-static.mlpackage", **ARTIFACT_FILES}
PACKAGE_DATA = "art.mlpackage/Data/com.apple.CoreML"
EXPORT = {"out": "out", "baseline.json": "baseline.json", "bench.json": "bench.json", "board.toml": "board.toml"}

RECORD_ACTS = {
    "gate": judged("gate", "out", "-d", "pi4", weight=6),
    "gate outputs": judged(
        "gate",
        "out",
        "-d",
        "pi4",
        "--why",
        "--github",
        "--junit",
        "j.xml",
        "--sarif",
        "s.json",
        "--markdown",
        "m.md",
        weight=3,
        may_write=("j.xml", "s.json", "m.md"),
    ),
    "gate baseline": judged(
        "gate", "out", "-d", "pi4", "--baseline", "baseline.json", "--max-regression", "size +5 %", weight=2
    ),
    "verify": Act(run=command("verify", "out"), weight=2),
    "report": Act(run=command("report", "out"), weight=2, may_write=("out",)),
    "baseline set": Act(run=command("baseline", "set", "out", "-o", "new.json"), weight=2, may_write=("new.json",)),
}

TFLITE_READER = "edgekit.analysis.read_flatbuffer:read_flatbuffer_precisions"
ONNX_READER = "edgekit.analysis.read_onnx_graph:read_onnx_file"
TASK_FILES = {name: name for name in ("edgekit.toml", "model.py", "labels.txt", "cal.npz", "eval.npz")}

KINDS: dict[str, Kind] = {
    "npz": Kind(
        files={"eval.npz": "eval.npz"},
        targets=("eval.npz",),
        acts={name: Act(run=data("eval.npz", name)) for name in ("calibration", "evaluation", "sample")},
    ),
    "npy": Kind(
        files={},
        targets=("samples/0.npy", "samples/targets.npy", "samples/samples.json"),
        acts={name: Act(run=data("samples", name)) for name in ("calibration", "evaluation")},
        named=("samples",),
        prepare=prepare_samples,
    ),
    "images": Kind(
        files={"images": "images"},
        targets=tuple(f"images/{name}" for name in ("a/0.png", "b/1.jpg", "a/2.bmp", "b/3.webp")),
        acts={name: Act(run=data("images", name)) for name in ("calibration", "evaluation")},
    ),
    "labels": Kind(
        files=TASK_FILES,
        targets=("labels.txt",),
        acts={"request": Act(run=request("edgekit.toml"))},
    ),
    "pyproject section": Kind(
        files={
            **{name: path for name, path in TASK_FILES.items() if name != "edgekit.toml"},
            "pyproject.toml": "pyproject.toml",
        },
        targets=("pyproject.toml",),
        acts={"request": Act(run=reading(found_request))},
        named=("labels.txt",),
    ),
    "plan.json": Kind(
        files={**TASK_FILES, "net.onnx": "net.onnx", "plan.json": "plan.json"},
        targets=("plan.json",),
        acts={"read": Act(run=reading(plan_file))},
    ),
    "journal": Kind(
        files={},
        targets=("layer-1.json",),
        acts={"read": Act(run=reading(journal))},
        mutation=change_json,
        prepare=prepare_journal,
    ),
    "cache entry": Kind(
        files={},
        targets=tuple(f"kept/kind/key/{name}" for name in ("model.json", "weights.bin", ".digests.json")),
        acts={"read": Act(run=reading(cache_entry), may_write=("kept",))},
        prepare=prepare_entry,
    ),
    "search.json": Kind(
        files={"variants": "variants"},
        targets=("variants/search.json",),
        acts={"report": Act(run=command("report", "variants"), may_write=("variants",))},
        named=("variants",),
    ),
    "benchmark_model output": Kind(
        files={"art.tflite": "out/net-int8-static.tflite", "benchmark.txt": "benchmark.txt"},
        targets=("benchmark.txt",),
        acts={
            "bench": Act(
                run=command("bench", "art.tflite", "--from", "benchmark.txt", "-d", "pi4", "-o", "m.json"),
                may_write=("m.json",),
            )
        },
    ),
    "AI Hub profile": Kind(
        files={"art.tflite": "out/net-int8-static.tflite", "hub.json": "hub.json"},
        targets=("hub.json",),
        acts={
            "bench": Act(
                run=command("bench", "art.tflite", "--from", "hub.json", "-d", "pixel8", "-o", "m.json"),
                may_write=("m.json",),
            )
        },
    ),
    "checkpoint": Kind(
        files={},
        targets=("training.ckpt",),
        acts={"read": Act(run=reading(checkpoint))},
        prepare=prepare_checkpoint,
    ),
    "task file": Kind(
        files=TASK_FILES,
        targets=("edgekit.toml",),
        acts={"request": Act(run=request("edgekit.toml"), weight=12), "plan": Act(run=command("plan", "-d", "pi4"))},
        named=("labels.txt",),
    ),
    "onnx": Kind(
        files={"src.onnx": "net.onnx"},
        targets=("src.onnx",),
        acts={
            "capture": Act(run=capture("src.onnx", "onnx"), weight=20),
            "capture as torch": Act(run=capture("src.onnx", "onnx", as_torch=True), weight=3),
            "graph": Act(run=graph("src.onnx", ONNX_READER), weight=10),
            "init": Act(run=command("init", "--from", "src.onnx"), may_write=("edgekit.toml", "data.py", "model.py")),
        },
    ),
    "onnx external data": Kind(
        files={"outside.onnx": "outside.onnx", "weights.bin": "weights.bin", "eval.npz": "eval.npz"},
        targets=("outside.onnx", "outside.onnx", "weights.bin"),
        acts={
            "capture": Act(run=capture("outside.onnx", "onnx"), weight=10),
            "graph": Act(run=graph("outside.onnx", ONNX_READER), weight=6),
            "describe": Act(run=describe("outside.onnx"), weight=6),
            "validate": judged(
                "validate", "outside.onnx", "-d", "pi4", "--evaluation", "eval.npz", "--max-size", "1 kB"
            ),
        },
        named=("outside.onnx",),
    ),
    "pt2": Kind(
        files={"src.pt2": "net.pt2"},
        targets=("src.pt2",),
        acts={"capture": Act(run=capture("src.pt2", "pt2"), weight=9), "classify": Act(run=classify("src.pt2"))},
    ),
    "torchscript": Kind(
        files={"src.pt": "net.pt"},
        targets=("src.pt",),
        acts={"capture": Act(run=capture("src.pt", "torchscript"), weight=9), "classify": Act(run=classify("src.pt"))},
    ),
    "frozen graph": Kind(
        files={"src.pb": "net.pb"},
        targets=("src.pb",),
        acts={"capture": Act(run=capture("src.pb", "frozengraph"), weight=9), "classify": Act(run=classify("src.pb"))},
    ),
    "onnx artifact": Kind(
        files={"art.onnx": "out/net-int8-static.onnx", **ARTIFACT_FILES},
        targets=("art.onnx",),
        acts=artifact_acts("art.onnx", ONNX_READER),
    ),
    "tflite": Kind(
        files={"art.tflite": "out/net-int8-static.tflite", **ARTIFACT_FILES},
        targets=("art.tflite",),
        acts={
            **artifact_acts("art.tflite", TFLITE_READER),
            "capture": Act(run=capture("art.tflite", "tflite"), weight=10),
        },
    ),
    "measurement": Kind(
        files={**EXPORT, "art.tflite": "out/net-int8-static.tflite"},
        targets=("bench.json",),
        acts={
            "read": Act(run=reading(measurement), weight=2),
            "gate": judged("gate", "out", "-d", "pi4", "--measurements", "bench.json"),
        },
    ),
    "executorch": Kind(
        files={"art.pte": "out/net-int8-static.pte", **ARTIFACT_FILES},
        targets=("art.pte",),
        acts=artifact_acts("art.pte"),
    ),
    "device profile": Kind(
        files=EXPORT,
        targets=("board.toml",),
        acts={
            "read": Act(run=reading(profile), weight=6),
            "show": Act(run=command("devices", "show", "board.toml"), weight=2),
            "gate": judged("gate", "out", "-d", "board.toml"),
        },
        mutation=change_toml,
    ),
    "baseline": Kind(
        files=EXPORT,
        targets=("baseline.json",),
        acts={
            "show": Act(run=command("baseline", "show", "baseline.json", "--no-color"), weight=2),
            "show json": Act(run=command("baseline", "show", "baseline.json", "--json")),
            "set": Act(run=command("baseline", "set", "out", "-o", "baseline.json"), may_write=("baseline.json",)),
            "gate": RECORD_ACTS["gate baseline"],
        },
    ),
    "edgekit.lock": Kind(files=EXPORT, targets=("out/edgekit.lock",), acts=RECORD_ACTS, named=("out",)),
    "report.json": Kind(files=EXPORT, targets=("out/report.json",), acts=RECORD_ACTS, named=("out",)),
    "details.json": Kind(
        files=EXPORT,
        targets=("out/details.json",),
        acts={
            "report": Act(run=command("report", "out"), weight=2, may_write=("out",)),
            "gate": judged("gate", "out", "-d", "pi4", "--why"),
        },
        named=("out",),
    ),
    "keras": Kind(
        files={"src.keras": "net.keras"},
        targets=("src.keras",),
        acts={"capture": Act(run=capture("src.keras", "keras"), weight=9), "classify": Act(run=classify("src.keras"))},
    ),
    "h5": Kind(
        files={"src.h5": "net.h5"},
        targets=("src.h5",),
        acts={"capture": Act(run=capture("src.h5", "keras"), weight=9), "classify": Act(run=classify("src.h5"))},
    ),
    "savedmodel": Kind(
        files={"saved": "saved"},
        targets=(
            "saved/saved_model.pb",
            "saved/saved_model.pb",
            "saved/variables/variables.index",
            "saved/fingerprint.pb",
            "saved/variables/variables.data-00000-of-00001",
        ),
        acts={"capture": Act(run=capture("saved", "savedmodel"))},
        named=("saved",),
    ),
    "core ml manifest": Kind(
        files=PACKAGE,
        targets=("art.mlpackage/Manifest.json",),
        acts=artifact_acts("art.mlpackage"),
        named=("art.mlpackage",),
    ),
    "core ml weights": Kind(
        files=PACKAGE,
        targets=(f"{PACKAGE_DATA}/weights/weight.bin",),
        acts=artifact_acts("art.mlpackage"),
        named=("art.mlpackage",),
    ),
    "core ml model": Kind(
        files=PACKAGE,
        targets=(f"{PACKAGE_DATA}/model.mlmodel",),
        acts=artifact_acts("art.mlpackage"),
        named=("art.mlpackage",),
    ),
}
"""In the order in which a campaign goes through them: those that load least come first, for all is kept."""
