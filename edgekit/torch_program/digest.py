"""A hash of a model that does not depend on the process, the machine or a file's incidental bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@final
class Digest:
    """Collects what defines a model. The order of the calls counts."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, *parts: object) -> None:
        """Adds text: operators, names, numbers, shapes. Floats are written exactly."""
        for part in parts:
            data = repr(part).encode() if not isinstance(part, str) else part.encode()
            # The length keeps ("ab", "c") and ("a", "bc") apart.
            self._hash.update(len(data).to_bytes(8, "little"))
            self._hash.update(data)

    def add_array(self, array: NDArray[Any]) -> None:
        """Adds a NumPy array: dtype, shape and bytes, little-endian."""
        import numpy as np

        array = np.ascontiguousarray(array)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        self.add(str(array.dtype), array.shape)
        flat: Any = array.reshape(-1)  # a buffer, which NumPy's hints say from Python 3.12 on
        self._hash.update(array.tobytes() if array.dtype.kind == "O" else memoryview(flat).cast("B"))

    def add_tensor(self, tensor: Tensor) -> None:
        """Adds a contiguous torch tensor on the CPU; dtypes that NumPy lacks (bfloat16) go in as their bytes."""
        import torch

        self.add(str(tensor.dtype), tuple(tensor.shape))
        if tensor.numel():
            flat: Any = tensor.reshape(-1).view(torch.uint8).numpy()
            self._hash.update(memoryview(flat))

    def hexdigest(self) -> str:
        """Returns the hash so far."""
        return self._hash.hexdigest()
