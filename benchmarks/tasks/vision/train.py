"""Trains the networks of this folder, those that are not trained yet.

EDGEKIT_TRAINED=DIR python benchmarks/tasks/vision/train.py [NAME ...]
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))
from training import FOLDER

MODULES: Final = {
    "dfl": "detectors",
    "anchors": "detectors",
    "segmenter": "segmenter",
    "mobilenet_v3": "classifiers",
    "mobilenet_v4": "classifiers",
    "efficientnet": "classifiers",
    "vit": "classifiers",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MODULES), metavar="NAME", help=", ".join(MODULES))
    for name in parser.parse_args().names:
        if (FOLDER / f"{name}.pt").is_file():
            continue
        for line in importlib.import_module(MODULES[name]).train(name):
            print(line, flush=True)


if __name__ == "__main__":
    main()
