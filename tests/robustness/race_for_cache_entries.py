"""Several processes make the same cache entries, as concurrent exports of one model do. Run by test_cache_races.py.

python race_for_cache_entries.py FOLDER PROCESSES ROUNDS; prints a JSON object with failures and builds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from edgekit.workers.cache import Cache


def work(root: Path, rounds: int, reuse: bool) -> list[str]:
    """Makes and reads every entry once. Returns what went wrong."""
    wrong: list[str] = []
    cache = Cache(root=root / "cache", reuse=reuse)
    for k in range(rounds):

        def build(folder: Path, k: int = k) -> None:
            (root / "builds" / f"{k}-{os.getpid()}").touch()
            (folder / "model.json").write_text("{")
            time.sleep(0.003)
            (folder / "model.json").write_text("{}")

        try:
            made = cache.make("captured", f"key{k}", build)
            if reuse:
                time.sleep(0.002)
                json.loads((made / "model.json").read_text())
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
    return wrong


def main(root: Path, processes: int, rounds: int, reuse: bool) -> None:
    """Forks the processes and prints what they say."""
    (root / "builds").mkdir()
    for n in range(processes):
        if os.fork() == 0:
            (root / f"wrong-{n}").write_text(json.dumps(work(root, rounds, reuse)))
            os._exit(0)
    for _ in range(processes):
        os.wait()
    wrong = [text for n in range(processes) for text in json.loads((root / f"wrong-{n}").read_text())]
    builds = [path.name.partition("-")[0] for path in (root / "builds").iterdir()]
    sys.stdout.write(json.dumps({"failures": wrong, "builds": len(builds), "keys": len(set(builds))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), reuse=sys.argv[4:] != ["--no-reuse"])
