"""Files that take pixels, in the platforms' own clients: 200 photographs in MediaPipe Tasks and in four formats.

    python benchmarks/platform_clients.py --mediapipe PYTHON [--precisions fp32,int8] [--write]

Exports EfficientNet-Lite0 with an image input, runs every artifact in its own runtime on the same pixels, and the
TFLite files in MediaPipe's ImageClassifier and ImageEmbedder as well; then the camera loop of `usage/` with the
photographs in the camera's place, whose times are this host's. `PYTHON` has MediaPipe installed. Needs
`data/imagenet500` (see README.md). `--write` puts the rows in place of their old ones.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

import edgekit
from edgekit.samples import Samples, write_samples
from edgekit.task.default_model import build
from edgekit.validators.execution import collect_evidence, describe_artifact
from edgekit.validators.runners.runner import host

HERE: Final = Path(__file__).parent
CLIENT: Final = HERE / "mediapipe_client.py"
RESULTS: Final = HERE / "results" / "platform_clients.md"
DATA: Final = Path(os.environ.get("EDGEKIT_SHARED", HERE.parents[1] / "shared")) / "data" / "imagenet500"
MEAN, STD = 127.0, 128.0
SIDE, COUNT, CALIBRATION = 224, 200, 100

CLIENTS: Final = """# Platform clients

Output of `python benchmarks/platform_clients.py --mediapipe PYTHON --write`: EfficientNet-Lite0 with an image input,
{count} photographs, centre crops of 224 x 224. "as float" is how many have the float model's label on the same pixels;
"as our runner" is how many have the label that the same file has in edgekit's runner; "largest difference" is of any
score to that runner's. MediaPipe {mediapipe}.

| precision | file | client | as float | as our runner | largest difference | top-1 |
|---|---|---|---|---|---|---|
"""

CAMERA: Final = """
## Camera loop

`usage/camera.py` with {count} photographs of 640 x 480 as `frames.npy` in the camera's place, on this host ({host}),
shared with other jobs. No device's figures: "preparing" is the snippet's resize and crop, "running" a call of the
runtime.

| file | frames a second | preparing, median | running, median |
|---|---:|---:|---:|
"""


def photographs() -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels (N, 224, 224, 3) uint8 and class numbers: calibration first."""
    rows = list(csv.DictReader((DATA / "labels.csv").open()))[: CALIBRATION + COUNT]
    pixels = []
    for row in rows:
        image = Image.open(DATA / row["file"]).convert("RGB")
        left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
        pixels.append(np.asarray(image.crop((left, top, left + SIDE, top + SIDE))))
    return np.stack(pixels), np.array([int(row["label"]) for row in rows])


def as_values(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(((pixels.astype(np.float32) - MEAN) / STD).transpose(0, 3, 1, 2))


def export(precision: str, pixels: np.ndarray, labels: np.ndarray, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields (format, path) of the artifacts."""
    values = as_values(pixels)
    outcome = edgekit.export(
        build(),
        inputs=(np.zeros((1, 3, SIDE, SIDE), np.float32),),
        device="pixel8",
        formats=("tflite", "onnx", "executorch", "coreml"),
        precision=precision,
        calibration=values[:CALIBRATION],
        evaluation=(values[CALIBRATION:], labels[CALIBRATION:]),
        metric="top1",
        image_input={"mean": MEAN, "std": STD},
        name="efficientnet-lite0",
        output=folder,
    )
    for item in outcome.to_json()["formats"]:
        if item["artifact"] is None:
            raise SystemExit(f"{item['runtime']} {precision}: {item['error']}")
        yield item["runtime"], folder / item["artifact"]["path"]


def outputs_of(path: Path, pixels: np.ndarray, folder: Path) -> np.ndarray:
    """Returns the scores of an artifact in edgekit's runner."""
    artifact = describe_artifact(path)
    rows = pixels.transpose(0, 3, 1, 2) if artifact.inputs[0].layout == "NCHW" else pixels
    samples: Samples = write_samples(folder / "samples", [artifact.inputs[0].name], [(row[None],) for row in rows])
    evidence = collect_evidence(artifact, folder=folder, evaluation=samples, pieces=("outputs",))
    if evidence.outputs is None:
        raise SystemExit(f"{path}: {evidence.missing}")
    return np.asarray(evidence.outputs.arrays()[0])


def in_mediapipe(python: Path, task: str, path: Path, pixels: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "pixels.npy", pixels)
    subprocess.run([python, CLIENT, task, path, folder / "pixels.npy", folder / "found.npy"], check=True)
    return np.load(folder / "found.npy")


def camera_rows(usage: Path, frames: Path) -> Iterator[str]:
    """Yields what the camera loop says of each file that it knows, with these frames in the camera's place."""
    for file in sorted(usage.glob("*.py")):
        command = [sys.executable, usage / "camera.py", file.stem, "--source", frames, "--every", "1000"]
        if file.stem == "camera":
            continue
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r"(\S+) a second: preparing (\S+) ms, running (\S+) ms", done.stdout)
        if found is not None:
            yield f"| {file.stem} | {found[1]} | {found[2]} ms | {found[3]} ms |"


def frames_of_a_camera(folder: Path) -> Path:
    """Writes the photographs as a camera gives them, (N, 480, 640, 3) uint8, and returns the file."""
    files = [row["file"] for row in csv.DictReader((DATA / "labels.csv").open())][CALIBRATION : CALIBRATION + COUNT]
    frames = [np.asarray(Image.open(DATA / file).convert("RGB").resize((640, 480))) for file in files]
    np.save(folder / "frames.npy", np.stack(frames))
    return folder / "frames.npy"


def float_scores(pixels: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return np.concatenate([build()(torch.from_numpy(part)).numpy() for part in np.split(as_values(pixels), 10)])


def rows(python: Path, precisions: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields (table, row)."""
    pixels, labels = photographs()
    wanted = float_scores(pixels[CALIBRATION:])
    judged, truth = pixels[CALIBRATION:], labels[CALIBRATION:]

    def row(precision: str, file: str, client: str, found: np.ndarray, ours: np.ndarray) -> str:
        best = found.argmax(1)
        figures: list[Any] = [
            f"{(best == wanted.argmax(1)).sum()} of {len(best)}",
            f"{(best == ours.argmax(1)).sum()} of {len(best)}",
            f"{np.abs(found - ours).max():.2g}",
            f"{100 * (best == truth).mean():.1f} %",
        ]
        return f"| {precision} | {file} | {client} | {' | '.join(figures)} |"

    for precision in precisions:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for name, path in export(precision, pixels, labels, folder / "made"):
                ours = outputs_of(path, judged, folder / name)
                yield "clients", row(precision, path.name, "edgekit's runner", ours, ours)
                if name == "tflite":
                    for task, client in (("classify", "ImageClassifier"), ("embed", "ImageEmbedder")):
                        found = in_mediapipe(python, task, path, judged, folder)
                        yield "clients", row(precision, path.name, f"MediaPipe {client}", found, ours)
            yield from (("camera", line) for line in camera_rows(folder / "made" / "usage", frames_of_a_camera(folder)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Files that take pixels, in the platforms' own clients.")
    parser.add_argument("--mediapipe", required=True, type=Path, help="a Python that has MediaPipe")
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(HERE.parent)}")
    options = parser.parse_args()
    command = [options.mediapipe, "-c", "import importlib.metadata as m; print(m.version('mediapipe'))"]
    version = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    heads = {
        "clients": CLIENTS.format(count=COUNT, mediapipe=version),
        "camera": CAMERA.format(count=COUNT, host=host()),
    }
    found: dict[str, list[str]] = {"clients": [], "camera": []}
    for table, line in rows(options.mediapipe, options.precisions.split(",")):
        print(line, flush=True)
        found[table].append(line)
    if options.write:
        kept = {table: merged(table, found[table]) for table in heads}
        RESULTS.write_text("".join(head + "\n".join(kept[table]) + "\n" for table, head in heads.items()))


def merged(table: str, found: Sequence[str]) -> list[str]:
    """Returns the rows of a table: those of this run in the place of earlier ones of the same name."""
    columns, named = {"clients": (9, 4), "camera": (6, 2)}[table]
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else []
    tables = [line for line in lines if line.startswith("| ") and len(line.split("|")) == columns]
    known = [line for line in tables if not line.startswith(("| precision", "| file"))]
    return list({tuple(line.split("|")[:named]): line for line in [*known, *found]}.values())


if __name__ == "__main__":
    main()
