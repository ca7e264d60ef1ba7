"""A runtime for tests: needs only NumPy. The artifact is a JSON file that says what to do."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np

PACKAGES = "fake-runtime"
EXTRA = "fake"


class Runtime:
    def __init__(self, artifact, package, threads):
        text = Path(artifact).read_text()
        if '"missing"' in text:
            raise ImportError("No module named 'fake_runtime'")
        self.name, self.version = "fake", f"1.0 with {threads} threads"
        self.untimed = "A fake says nothing about time." if "untimed" in text else ""

    def open(self, path):
        return Session(json.loads(Path(path).read_text()))


class Session:
    """Adds 1 to each input. What goes wrong, and when, is in the facts."""

    def __init__(self, facts):
        self._facts = facts
        self._runs = 0
        self._held = []
        self.inputs = facts["inputs"]
        self.outputs = facts.get("outputs") or facts["inputs"]
        self.metadata = facts.get("metadata", {})
        if facts.get("do") == "refuse":
            raise ValueError("bad magic\n number")

    def run(self, arrays):
        self._runs += 1
        do = self._facts.get("do") if self._runs > self._facts.get("after", 0) else None
        if do == "crash":
            os.kill(os.getpid(), 11)
        if do == "hang":
            time.sleep(60)
        if do == "raise":
            raise RuntimeError("kernel missing: Foo")
        if do == "grow":
            return [np.zeros((1, self._runs), np.float32)]
        if do == "hold":
            self._held.append(np.ones(20_000_000 // 8))
            time.sleep(0.1)
        time.sleep(self._facts.get("sleep_s", 0))
        return [array + np.ones((), array.dtype) for array in arrays]

    def operators(self):
        conv = {"name": "conv", "kind": "CONV", "arithmetic": "integer", "macs": 10, "weights": 2, "weight_bits": 8}
        return [conv, {**conv, "name": "last"}, {"name": "add", "kind": "ADD", "arithmetic": "float"}]
