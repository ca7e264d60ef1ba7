"""A folder of pictures as the items of a data set, each read when it is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

from edgekit.annotations.suffixes import IMAGE_SUFFIXES, pictures_in
from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.task.pictures import one_image, read_image
from edgekit.task.task import ImagePreprocessing


@final
class PictureItems:
    """Pictures in the order of their names; for evaluation, sorted sub-folders are the classes 0, 1, ...

    Args:
        folder: Of the pictures.
        purpose: What they are for; only evaluation data has targets.
        specs: The model's inputs.
        preprocessing: How a picture becomes the input.

    Raises:
        DataError: the model takes no single picture, or the folder holds none.
    """

    def __init__(
        self, folder: Path, purpose: str, specs: tuple[TensorSpec, ...], preprocessing: ImagePreprocessing
    ) -> None:
        self._spec = one_image(specs, f"The folder {folder}")
        self._files = pictures_in(folder)
        if not self._files:
            raise DataError(
                f"The folder {folder} holds no image: expected files that end in {', '.join(IMAGE_SUFFIXES)}."
            )
        self._preprocessing = preprocessing
        self._classes = sorted({file.parent.name for file in self._files if file.parent != folder})
        self._purpose = purpose

    def __len__(self) -> int:
        """Returns how many pictures there are."""
        return len(self._files)

    def __getitem__(self, index: int) -> Any:
        """Returns one picture's item.

        Raises:
            DataError: it cannot be read.
        """
        file = self._files[index]
        inputs = (read_image(file, self._spec, self._preprocessing),)
        if self._purpose != "evaluation":
            return inputs
        name = file.parent.name
        return inputs, ([self._classes.index(name)] if name in self._classes else None)

    def __iter__(self) -> Iterator[Any]:
        """Yields the items in order."""
        return (self[index] for index in range(len(self)))
