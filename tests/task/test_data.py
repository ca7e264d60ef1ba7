from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.samples import Samples
from edgekit.task.data import DataRequest, Purpose, materialize, write_items
from edgekit.task.task import ImagePreprocessing
from edgekit.workers.worker import silent

IMAGE = TensorSpec(name="image", shape=(1, 3, 4, 4), dtype="float32", layout="NCHW")
IDS = TensorSpec(name="ids", shape=(1, 5), dtype="int64")

Run = Callable[..., Samples]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run_on(
        reference: str,
        *specs: TensorSpec,
        purpose: Purpose = "calibration",
        metric: str = "agreement",
        preprocessing: ImagePreprocessing | None = None,
        code: str | None = None,
    ) -> Samples:
        if code is not None:
            (tmp_path / "data.py").write_text(f"import numpy as np\n{code}")
        request = DataRequest(
            reference=reference,
            base=tmp_path,
            purpose=purpose,
            inputs=specs,
            metric=metric,
            preprocessing=preprocessing or ImagePreprocessing(),
            folder=tmp_path / "samples",
        )
        return materialize(request, silent)

    return run_on


def test_batches_become_rows(run: Run) -> None:
    samples = run(
        "data.py:calibration",
        IMAGE,
        code="def calibration():\n    yield (np.ones((2, 3, 4, 4), 'f4'),)\n"
        "    yield np.zeros((1, 3, 4, 4), 'f4') + 2\n",
    )
    assert samples.count == samples.items == 3
    (array,) = samples.arrays()
    assert array[:, 0, 0, 0].tolist() == [1, 1, 2]


def test_torch_tensors_are_taken(run: Run) -> None:
    code = "import torch\ndef calibration():\n    yield (torch.arange(48.0, requires_grad=True).reshape(1, 3, 4, 4),)\n"
    assert run("data.py:calibration", IMAGE, code=code).arrays()[0].sum() == 48 * 47 / 2


def test_targets_and_slices_are_kept(run: Run) -> None:
    code = (
        "def evaluation():\n"
        "    yield (np.ones((2, 3, 4, 4), 'f4'),), np.array([3, 4]), 'day'\n"
        "    yield (np.ones((1, 3, 4, 4), 'f4'),), np.array([5]), 'night'\n"
    )
    samples = run("data.py:evaluation", IMAGE, purpose="evaluation", code=code)
    targets = samples.targets()
    assert targets is not None
    assert targets.tolist() == [3, 4, 5]
    assert samples.slices() == ("day", "day", "night")
    assert samples.item_of_row().tolist() == [0, 1, 2]


def test_under_spearman_the_rows_of_an_item_stay_together(run: Run) -> None:
    code = "def evaluation():\n    for i in range(3):\n        yield (np.ones((2, 5), 'i8'),), float(i)\n"
    samples = run("data.py:evaluation", IDS, purpose="evaluation", metric="spearman", code=code)
    assert (samples.count, samples.items) == (6, 3)
    assert samples.item_of_row().tolist() == [0, 0, 1, 1, 2, 2]
    targets = samples.targets()
    assert targets is not None
    assert targets.tolist() == [0.0, 1.0, 2.0]


def test_integers_of_another_width_and_doubles_are_converted(run: Run) -> None:
    code = "def calibration():\n    yield (np.arange(48.0).reshape(1, 3, 4, 4), np.arange(5, dtype='i4')[None])\n"
    image, ids = run("data.py:calibration", IMAGE, IDS, code=code).arrays()
    assert (image.dtype, ids.dtype) == (np.float32, np.int64)


def test_an_npz_file_is_read_by_input_name(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", image=np.ones((3, 3, 4, 4), "f4"), ids=np.ones((3, 5), "i8"), labels=np.arange(3))
    samples = run("set.npz", IMAGE, IDS, purpose="evaluation")
    targets = samples.targets()
    assert samples.count == 3
    assert targets is not None
    assert targets.tolist() == [0, 1, 2]


def test_a_folder_of_images_is_cropped_and_scaled(run: Run, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for index, name in enumerate(("cat", "dog")):
        (tmp_path / "set" / name).mkdir(parents=True)
        pixels = np.full((8, 12, 3), 100 * (index + 1), np.uint8)
        image.fromarray(pixels).save(tmp_path / "set" / name / "1.png")
    preprocessing = ImagePreprocessing(resize=6, mean=(100.0,), std=(50.0,))
    samples = run("set", IMAGE, purpose="evaluation", preprocessing=preprocessing)
    targets = samples.targets()
    assert targets is not None
    assert targets.tolist() == [0, 1]
    assert samples.arrays()[0].mean(axis=(1, 2, 3)).tolist() == [0.0, 2.0]


@pytest.mark.parametrize(("color", "channels"), [("rgb", [1.0, 2.0, 3.0]), ("bgr", [3.0, 2.0, 1.0])], ids=str)
def test_colours_come_in_the_order_that_the_model_was_trained_with(
    run: Run, tmp_path: Path, color: Literal["rgb", "bgr"], channels: list[float]
) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "set").mkdir()
    image.fromarray(np.full((4, 4, 3), [1, 2, 3], np.uint8)).save(tmp_path / "set" / "1.png")
    preprocessing = ImagePreprocessing(mean=(0.0,), std=(1.0,), color=color)
    (array,) = run("set", IMAGE, purpose="evaluation", preprocessing=preprocessing).arrays()
    assert array[0].mean(axis=(1, 2)).tolist() == channels


WRONG = [
    pytest.param(
        "yield (np.ones((1, 3, 4, 5), 'f4'),)",
        'The calibration data data.py:calibration, item 0 has shape (1, 3, 4, 5) for the input "image"; '
        "expected (N, 3, 4, 4), with any batch size N.",
        id="shape",
    ),
    pytest.param(
        "yield (np.ones((1, 3, 4, 4), 'u1'),)",
        'The calibration data data.py:calibration, item 0 is uint8 for the input "image"; the model takes float32. '
        "Convert it, with the scaling that the model was trained with.",
        id="dtype",
    ),
    pytest.param(
        "yield (np.full((1, 3, 4, 4), np.nan, 'f4'),)",
        "The calibration data data.py:calibration, item 0 holds 48 values that are NaN or infinite in the input "
        '"image". Ranges and accuracy would mean nothing: mend the data or its preprocessing.',
        id="nan",
    ),
    pytest.param(
        "yield (np.ones((1, 3, 4, 4), 'f4'), 1)",
        "The calibration data data.py:calibration, item 0 has 2 inputs; the model takes 1: image.",
        id="count",
    ),
    pytest.param(
        "return iter(())",
        "The calibration data data.py:calibration is empty: it yielded no item. "
        "Expected at least one; 100 to 500 are usual.",
        id="empty",
    ),
    pytest.param(
        "return 3",
        "The function data.py:calibration returned int; expected an iterable of input tuples.",
        id="no iterable",
    ),
]


@pytest.mark.parametrize(("body", "message"), WRONG)
def test_wrong_calibration_data_gets_one_message(run: Run, body: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        run("data.py:calibration", IMAGE, code=f"def calibration():\n    {body}\n")


def test_an_evaluation_item_without_a_target_is_explained(run: Run) -> None:
    message = (
        "Item 0 of the evaluation data data.py:evaluation is a ndarray; "
        "expected (input tuple, target) or (input tuple, target, slice name)."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        run(
            "data.py:evaluation",
            IMAGE,
            purpose="evaluation",
            code="def evaluation():\n    yield np.ones((1, 3, 4, 4))\n",
        )


def test_what_names_no_data_is_explained(run: Run, tmp_path: Path) -> None:
    message = (
        'The calibration data "nowhere" is neither a function ("data.py:calibration"), nor an .npz file, '
        f"nor a folder of images in {tmp_path}."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        run("nowhere", IMAGE)


def test_a_broken_npz_file_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(b"PK no zip")
    with pytest.raises(
        DataError, match=rf"^The calibration data {re.escape(str(tmp_path))}/set\.npz cannot be read as an .npz"
    ):
        run("set.npz", IMAGE)


def test_an_npz_file_without_the_inputs_names_what_it_has(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", a=np.ones(3), b=np.ones(3))
    message = (
        f"The calibration data {tmp_path / 'set.npz'} has no array named image, ids; it has a, b. "
        "Name each array as the model's input."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        run("set.npz", IMAGE, IDS)


def test_a_folder_without_images_says_which_files_count(run: Run, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    message = (
        f"The folder {tmp_path / 'set'} holds no image: expected files that end in .jpg, .jpeg, .png, .bmp, .webp."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        run("set", IMAGE)


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """Returns a PNG whose header says this size, whatever it holds."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png(60_000, 60_000), id="bomb"),
        pytest.param(png(64, 64, b"\0" * 9), id="too few pixels"),
        pytest.param(png(64, 64)[:40], id="cut off"),
        pytest.param(b"BM" + b"\xff" * 60, id="another format"),
        pytest.param(b"", id="empty"),
    ],
)
def test_an_image_that_cannot_be_read_is_named(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^The image {re.escape(str(path))} cannot be read: "):
        run("images", IMAGE)


def test_an_array_without_rows_is_named(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=np.float32(1))
    message = f'The calibration data {tmp_path}/set.npz: the array "x" is one value; expected one row a sample.'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        run("set.npz", IMAGE)


def test_a_none_among_the_calls_of_a_model_with_states_starts_anew(tmp_path: Path) -> None:
    calls = [np.zeros((1, 5), np.int64), None, np.ones((1, 5), np.int64), np.ones((1, 5), np.int64), None]
    samples = write_items(
        calls, (IDS,), tmp_path, purpose="sample", metric="agreement", title="calls", sequences=True, reset_every=9
    )
    assert samples.starts() == (0, 1)
    assert samples.sequence_lengths() == (1, 2)
