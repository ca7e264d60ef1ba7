"""Runs a model on a set that is too large to lie on disk: parts are read anew, run and taken away, on all cores.

Each pair of processes, one that reads and one that runs, has its own parts. Outputs of a part stay until all are there,
so that a run that was killed goes on with the next part. Rows are independent, so what comes is what one process gives.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import ArtifactError, DataError
from edgekit.samples import SAMPLES_NAME, Samples
from edgekit.task.sample_feed import FEED, FeedRequest, SampleSource, part_name
from edgekit.workers.process_folder import temporary_folder
from edgekit.workers.worker import JobOptions, Progress, run_job, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WAITING_PARTS: Final = 2
"""Parts that lie ready for each runner: one to go on with, one that is being written."""

RunParts = Callable[[Path, tuple[int, ...], Path, Progress, threading.Event], None]
"""Runs these parts as they come into a folder; (folder, numbers, where the outputs go, progress, cancelled). Raises
where it fails."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedRun:
    """A run of one model on a set whose rows are read anew.

    Attributes:
        samples: The set.
        title: Name of what runs, for messages.
        kept: Folder that keeps the outputs of finished parts.
        processes: How many parts run at a time.
        timeout_s: Limit for the reading of a part.
        memory_limit_bytes: Limit of each process; None for no limit.
    """

    samples: Samples
    title: str
    kept: Path
    processes: int
    timeout_s: float
    memory_limit_bytes: int | None

    def run(self, run_parts: RunParts, output: Path, progress: Progress) -> Samples:
        """Returns the outputs on all rows, written to `output`.

        Raises:
            DataError: the data is not what it was when it was read the first time.
            ArtifactError: an output has another shape in one part than in another.
            Exception: what `run_parts` raises.
        """
        self.kept.mkdir(parents=True, exist_ok=True)
        numbers = range(-(-self.samples.count // self.samples.part_rows))
        todo = [number for number in numbers if not self._is_kept(number)]
        if todo:
            with temporary_folder("feed") as folder:
                self._run_all(todo, folder, run_parts, progress)
        joined = join_parts([self.kept / part_name(number) for number in numbers], self.samples, output, self.title)
        progress(f"{self.title}: {self.samples.count} rows", 1.0)
        return joined

    def _is_kept(self, number: int) -> bool:
        """Returns whether a part's outputs are there and undamaged; damaged ones are taken away."""
        folder = self.kept / part_name(number)
        try:
            part = Samples.open(folder)
            if part.sha256 == _digest_of(part.arrays()):
                return True
        except DataError:
            pass
        shutil.rmtree(folder, ignore_errors=True)
        return False

    def _run_all(self, todo: Sequence[int], folder: Path, run_parts: RunParts, progress: Progress) -> None:
        """Reads and runs parts until all are done; the first failure ends all processes and is raised."""
        failed = threading.Event()
        indexed = self.samples.indexed
        shares = [tuple(todo[k :: self.processes]) for k in range(min(self.processes, len(todo)))]
        folders = [folder / (str(k) if indexed else "all") for k in range(len(shares))]
        for place in folders:
            place.mkdir(exist_ok=True)
        tell = self._count(progress)
        with ThreadPoolExecutor(2 * len(shares)) as pool:
            waiting = [
                pool.submit(run_parts, place, share, self.kept, tell, failed)
                for place, share in zip(folders, shares, strict=True)
            ]
            feeds = zip(folders, shares, strict=True) if indexed else [(folders[0], tuple(todo))]
            room = _WAITING_PARTS * (1 if indexed else len(shares))
            waiting += [pool.submit(self._feed, place, share, room, failed) for place, share in feeds]
            try:
                wait(waiting, return_when=FIRST_EXCEPTION)
            finally:
                unfinished = not all(future.done() for future in waiting)
                if unfinished:
                    failed.set()
        raise_first(waiting)

    def _feed(self, folder: Path, parts: tuple[int, ...], room: int, failed: threading.Event) -> None:
        request = FeedRequest(
            source=SampleSource.of(self.samples), samples=self.samples, parts=parts, folder=folder, waiting=room
        )
        options = JobOptions(
            title="reading of the evaluation data",
            timeout_s=self.timeout_s * len(parts),
            memory_limit_bytes=self.memory_limit_bytes,
        )
        run_job(FEED, request, options, silent, failed)

    def _count(self, progress: Progress) -> Progress:
        """Returns a `Progress` for the runners: of all rows that are done, and not of a part's."""
        size, count = self.samples.part_rows, self.samples.count

        def tell(phrase: str, share: float | None = None) -> None:
            del phrase, share
            done = min(count, size * sum(path.suffix != ".partial" for path in self.kept.glob("part-*")))
            progress(f"{self.title}: row {done} of {count}", done / count)

        return tell


def raise_first(futures: Sequence[Future[None]]) -> None:
    """Raises what ended the first run that failed; those that were ended because of it say KeyboardInterrupt."""
    found = [error for future in futures if (error := future.exception()) is not None]
    for error in (*(one for one in found if not isinstance(one, KeyboardInterrupt)), *found):
        raise error


def processes_for(path: Path, threads: int) -> int:
    """Returns how many runs of a model go at a time: one a core, but for large files, whose copies fill the memory."""
    size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else (path,)) if file.is_file())
    return 1 if size > _LARGE_BYTES else max(1, (os.cpu_count() or 1) // threads)


_LARGE_BYTES: Final = 1 << 30


def join_parts(parts: Sequence[Path], samples: Samples, folder: Path, title: str) -> Samples:
    """Returns the outputs of all parts as one sample folder, as one run would have written it.

    Raises:
        ArtifactError: an output has another shape in one part than in another.
        DataError: a part is damaged.
    """
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    opened = [Samples.open(part) for part in parts]
    first = opened[0]
    for part in opened:
        for name, wanted, shape in zip(first.names, first.shapes(), part.shapes(), strict=True):
            if wanted != shape:
                raise ArtifactError(
                    f'Output "{name}" of {title} has shape {shape} on some rows and {wanted} before. Outputs must have '
                    "one shape: export a model whose output shapes do not depend on the data."
                )
    digest = hashlib.sha256()
    for place in range(len(first.names)):
        array = first.arrays()[place]
        whole = np.lib.format.open_memmap(
            folder / f"{place}.npy", mode="w+", dtype=array.dtype, shape=(samples.count, *array.shape[1:])
        )
        start = 0
        for part in opened:
            whole[start : start + part.count] = part.arrays()[place]
            start += part.count
        whole.flush()
    for part in opened:
        for data in _in_order(part.arrays()):
            digest.update(data)
    if (samples.folder / "items.npy").exists():
        shutil.copyfile(samples.folder / "items.npy", folder / "items.npy")
    facts: dict[str, Any] = {"count": samples.count, "names": list(first.names), "items": samples.items}
    facts |= {"sha256": digest.hexdigest()} | ({"whole": list(first.whole)} if first.whole else {})
    (folder / SAMPLES_NAME).write_text(json.dumps(facts))
    return Samples.open(folder)


def _in_order(arrays: Sequence[NDArray[Any]]) -> Iterator[bytes]:
    """Yields the bytes of rows as a runner digests them: row by row, one tensor after the other."""
    for row in range(len(arrays[0]) if arrays else 0):
        for array in arrays:
            yield array[row].tobytes()


def _digest_of(arrays: Sequence[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for data in _in_order(arrays):
        digest.update(data)
    return digest.hexdigest()
