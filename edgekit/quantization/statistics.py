"""Streaming statistics of a tensor: what range calibration needs, in memory that does not grow with the data.

The histogram's bins lie on a fixed grid: bin k counts the values in [k * w, (k + 1) * w), k from -bins/2 to bins/2 - 1.
The width w is a power of two, the smallest that holds every value seen so far. A larger value doubles w and adds
neighbouring bins in pairs. Since floor(floor(x / w) / 2) = floor(x / (2 w)) holds exactly in binary floating point, the
result does not depend on how the data was cut into batches nor on their order: merging is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS: Final = 4096
"""Bins of a histogram, half of them for negative values: at least 1024 lie inside the largest absolute value."""

_MIN_EXPONENT: Final = -100  # a finer grid would leave float32: 2**100 is the factor that values are multiplied with
_CHUNK: Final = 1 << 16  # values a step: the scratch arrays stay in the processor's cache
_FLOAT32_SAFE: Final = 1e12  # larger values would overflow a float32 sum of squares over one chunk


@final
class TensorStatistics:
    """Minimum, maximum, count, mean, mean square and histogram of all values of one tensor.

    Minimum, maximum, counts and histogram are exact (no subsampling); the sums behind mean and mean square are float64.

    Args:
        name: The tensor's, for messages.
    """

    __slots__ = ("_exponent", "_histogram", "count", "maximum", "minimum", "name", "total", "total_square", "zeros")

    def __init__(self, name: str) -> None:
        import numpy as np

        self.name = name
        self.minimum = math.inf
        self.maximum = -math.inf
        self.count = 0
        self.zeros = 0
        self.total = 0.0
        self.total_square = 0.0
        self._exponent = _MIN_EXPONENT
        self._histogram: NDArray[np.int64] = np.zeros(BINS, dtype=np.int64)

    @property
    def mean(self) -> float:
        """Mean of all values; 0 before the first."""
        return self.total / self.count if self.count else 0.0

    @property
    def mean_square(self) -> float:
        """Mean of the squares of all values; 0 before the first."""
        return self.total_square / self.count if self.count else 0.0

    @property
    def bin_width(self) -> float:
        """Width of a bin, a power of two."""
        return math.ldexp(1.0, self._exponent)

    def update(self, values: NDArray[Any]) -> None:
        """Adds all elements of an array of any shape and any real dtype.

        Raises:
            DataError: an element is NaN or infinite.
        """
        import numpy as np

        if values.size == 0:
            return
        wide = (values.dtype.kind == "f" and values.dtype.itemsize > 4) or (
            values.dtype.kind in "iu" and values.dtype.itemsize > 2
        )
        flat = values.reshape(-1)
        if values.dtype.name not in ("float32", "float64"):
            flat = flat.astype(np.float64 if wide else np.float32)
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise not_finite(self.name)
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self._grow(_exponent_for(low, high))
        self._add(flat, max(-low, high) > _FLOAT32_SAFE)

    def merge(self, other: TensorStatistics) -> None:
        """Adds what `other` has seen; the result is the same as if this object had seen all of it."""
        if other.count == 0:
            return
        self._grow(other._exponent)
        self._histogram += _coarsened(other._histogram, self._exponent - other._exponent)
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.count += other.count
        self.zeros += other.zeros
        self.total += other.total
        self.total_square += other.total_square

    def histogram(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Returns (counts, edges) of the bins from the first to the last that is not empty; one edge more than bins."""
        import numpy as np

        used = np.flatnonzero(self._histogram)
        if used.size == 0:
            return np.zeros(0, dtype=np.int64), np.zeros(1)
        first, last = int(used[0]), int(used[-1])
        edges = np.arange(first - BINS // 2, last + 2 - BINS // 2, dtype=np.float64) * self.bin_width
        return self._histogram[first : last + 1].copy(), edges

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the state as two small arrays, for an .npz file."""
        import numpy as np

        numbers = (self.minimum, self.maximum, self.total, self.total_square)
        used = np.flatnonzero(self._histogram)
        sparse = np.stack([used, self._histogram[used]]).astype(np.int64)
        head = np.array([[self.count, self._exponent], [self.zeros, 0]], dtype=np.int64)
        return {"numbers": np.array(numbers), "histogram": np.concatenate([head, sparse], axis=1)}

    @staticmethod
    def from_arrays(name: str, arrays: Mapping[str, NDArray[Any]]) -> TensorStatistics:
        """Returns the statistics that `to_arrays` wrote."""
        made = TensorStatistics(name)
        made.minimum, made.maximum, made.total, made.total_square = (float(v) for v in arrays["numbers"])
        histogram = arrays["histogram"]
        made.count, made._exponent, made.zeros = int(histogram[0, 0]), int(histogram[0, 1]), int(histogram[1, 0])
        made._histogram[histogram[0, 2:]] = histogram[1, 2:]
        return made

    def _grow(self, exponent: int) -> None:
        if exponent > self._exponent:
            self._histogram = _coarsened(self._histogram, exponent - self._exponent)
            self._exponent = exponent

    def _add(self, flat: NDArray[Any], huge: bool) -> None:  # noqa: FBT001  a private step of `update`
        """Counts and sums `flat` (1-D float32 or float64), in chunks that stay in the cache."""
        import numpy as np

        factor = flat.dtype.type(math.ldexp(1.0, -self._exponent))
        scratch = np.empty(min(_CHUNK, flat.size), dtype=flat.dtype)
        for start in range(0, flat.size, _CHUNK):
            chunk = flat[start : start + _CHUNK]
            bins = scratch[: chunk.size]
            # The product with a power of two is exact; floor must come before the shift, which would round.
            np.multiply(chunk, factor, out=bins)
            np.floor(bins, out=bins)
            index = bins.astype(np.intp)
            index += BINS // 2
            self._histogram += np.bincount(index, minlength=BINS)
            exact = chunk.astype(np.float64) if huge else chunk
            self.total += float(exact.sum(dtype=np.float64))
            self.total_square += float(np.dot(exact, exact))
        self.count += flat.size
        self.zeros += flat.size - int(np.count_nonzero(flat))


def not_finite(name: str) -> DataError:
    """Returns the error for a tensor whose values no grid can hold."""
    return DataError(
        f'The tensor "{name}" has NaN or infinite values while the float model runs on calibration data. '
        "Check the calibration data's preprocessing, and that the float model itself works on it."
    )


def _exponent_for(low: float, high: float) -> int:
    """Returns the smallest exponent e for which every value of [low, high] has a bin of width 2**e."""
    largest = max(abs(low), abs(high))
    exponent = max(_MIN_EXPONENT, math.frexp(largest)[1] - (BINS // 2).bit_length() if largest else _MIN_EXPONENT)
    while math.floor(math.ldexp(high, -exponent)) >= BINS // 2 or math.floor(math.ldexp(low, -exponent)) < -(BINS // 2):
        exponent += 1
    return exponent


def _coarsened(histogram: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """Returns the histogram with bins 2**steps times as wide; bin k goes to floor(k / 2**steps)."""
    import numpy as np

    if steps == 0:
        return histogram
    used = np.flatnonzero(histogram)
    wider = np.zeros_like(histogram)
    # Beyond 62 steps every bin falls into -1 or 0, and a longer shift of an int64 has no meaning.
    np.add.at(wider, ((used - BINS // 2) >> min(steps, 62)) + BINS // 2, histogram[used])
    return wider


def _is_mask(values: NDArray[Any]) -> bool:
    """Returns whether values are infinite somewhere and a number everywhere."""
    if values.dtype.kind != "f" or not values.size:
        return False
    low, high = float(values.min()), float(values.max())  # NaN where one value is
    return math.isinf(low) or math.isinf(high)


@final
class ModelStatistics:
    """Statistics of many tensors by name.

    Args:
        tensors: What to start with.

    Attributes:
        infinite: Names of tensors that held infinite values, as masks do; they have no statistics.
    """

    __slots__ = ("_tensors", "infinite")

    def __init__(self, tensors: Mapping[str, TensorStatistics] | None = None) -> None:
        self._tensors = dict(tensors or {})
        self.infinite: set[str] = set()

    @property
    def tensors(self) -> Mapping[str, TensorStatistics]:
        """Statistics by tensor name, in the order of first appearance."""
        return self._tensors

    def update(self, name: str, values: NDArray[Any]) -> None:
        """Adds the elements of `values` to the statistics of the tensor `name`.

        Raises:
            DataError: an element is NaN.
        """
        if name in self.infinite or _is_mask(values):
            self.infinite.add(name)
            self._tensors.pop(name, None)
            return
        if name not in self._tensors:
            self._tensors[name] = TensorStatistics(name)
        self._tensors[name].update(values)

    def merge(self, other: ModelStatistics) -> None:
        """Adds what `other` has seen."""
        self.infinite |= other.infinite
        for name in self.infinite:
            self._tensors.pop(name, None)
        for name, statistics in other.tensors.items():
            if name in self.infinite:
                continue
            if name not in self._tensors:
                self._tensors[name] = TensorStatistics(name)
            self._tensors[name].merge(statistics)

    def save(self, path: Path) -> None:
        """Writes everything to an .npz file."""
        import numpy as np

        arrays: dict[str, Any] = {"names": np.array(list(self._tensors), dtype=np.str_)}
        for i, statistics in enumerate(self._tensors.values()):
            for key, array in statistics.to_arrays().items():
                arrays[f"{i}.{key}"] = array
        with path.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @staticmethod
    def load(path: Path) -> ModelStatistics:
        """Returns the statistics that `save` wrote."""
        import numpy as np

        with np.load(path, allow_pickle=False) as arrays:
            names = [str(name) for name in arrays["names"]]
            return ModelStatistics(
                {
                    name: TensorStatistics.from_arrays(
                        name, {key: arrays[f"{i}.{key}"] for key in ("numbers", "histogram")}
                    )
                    for i, name in enumerate(names)
                }
            )
