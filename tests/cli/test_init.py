"""`edgekit init`: files that run as they are, all or nothing, never over somebody's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.cli.app import main
from edgekit.profiles.profile import shipped_folder
from edgekit.task import scaffold
from edgekit.task.task import load_task
from edgekit.task.task_kinds import TASKS

FILES = ["data.py", "edgekit.toml", "labels.txt", "model.py"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_task_is_written_and_the_next_steps_are_reported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init"]) == 0
    assert names(folder) == FILES
    assert capsys.readouterr().out.splitlines() == [
        "wrote edgekit.toml",
        "wrote model.py",
        "wrote data.py",
        "wrote labels.txt",
        "",
        "Next:",
        "  edgekit plan --device pi4",
        "  edgekit export --device pi4",
    ]


def test_another_folder_is_made_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "a/b", "--device", "Pixel 8"]) == 0
    assert names(folder / "a" / "b") == FILES
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["  cd a/b", "  edgekit plan --device pixel8", "  edgekit export --device pixel8"]
    text = (folder / "a" / "b" / "edgekit.toml").read_text()
    assert "[devices.pixel8]\n" in text
    assert (
        "(Pixel 8) says: size 25 MB, download 20 MB, peak memory 200 MB, latency 33 ms, accuracy drop 1.00 pp" in text
    )


@pytest.mark.parametrize("device", sorted(path.stem for path in shipped_folder().glob("*.toml")))
def test_the_task_file_is_one_that_edgekit_reads(folder: Path, device: str) -> None:
    assert main(["init", "--device", device]) == 0
    task = load_task(folder / "edgekit.toml")
    assert task.model == "model.py:build"
    assert task.example_inputs == "model.py:example_inputs"
    assert (task.calibration, task.evaluation, task.metric) == ("data.py:calibration", "data.py:evaluation", "top1")
    assert task.limits == ()
    assert task.metadata["labels"].splitlines() == ["stripes", "bars", "squares", "noise"]
    assert list(task.devices) == [device]


@pytest.mark.parametrize("comment", ["training", "budget", "preprocessing"], ids=str)
def test_the_commented_examples_are_right_once_they_are_let_in(folder: Path, comment: str) -> None:
    main(["init"])
    path = folder / "edgekit.toml"
    lines = [
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line
        for line in path.read_text().splitlines()
    ]
    kept = [line for line in lines if not line.startswith("Never")]
    path.write_text("\n".join(kept))
    task = load_task(path)
    if comment == "training":
        assert task.training is not None
        assert (task.training.batches, task.training.loss, task.training.epochs) == (
            "train.py:batches",
            "train.py:loss",
            3,
        )
    elif comment == "preprocessing":
        assert task.preprocessing_stated
        assert (task.preprocessing.resize, task.preprocessing.mean[0], task.preprocessing.color) == (
            256,
            123.675,
            "rgb",
        )
    else:
        names = ["size", "download", "memory", "accuracy_drop", "slice_drop", "latency", "parity_floor"]
        assert [limit.name for limit in task.limits] == names
        assert [limit.name for limit in task.regression] == ["size_change", "accuracy_change", "latency_change"]
        assert task.devices["pi4"].formats == ("tflite",)
        assert [limit.value for limit in task.devices["pi4"].limits] == [2_000_000]


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (["model.py"], "model.py is in . already and nothing was written."),
        (["data.py", "model.py"], "model.py and data.py are in . already and nothing was written."),
    ],
    ids=["one", "two"],
)
def test_files_that_are_there_are_left_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], there: list[str], said: str
) -> None:
    for name in there:
        (folder / name).write_text("mine")
    assert main(["init"]) == 2
    assert capsys.readouterr().err == f"edgekit: {said} Name another folder, or give --force to replace them.\n"
    assert names(folder) == there
    assert {(folder / name).read_text() for name in there} == {"mine"}


def test_force_replaces_them(folder: Path) -> None:
    (folder / "model.py").write_text("mine")
    assert main(["init", "--force"]) == 0
    assert "def build()" in (folder / "model.py").read_text()
    assert names(folder) == FILES


def test_a_file_in_the_folders_place_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "taken").write_text("mine")
    assert main(["init", "taken"]) == 2
    assert capsys.readouterr().err == (
        "edgekit: taken is a file; expected a folder, or a name where one can be made.\n"
    )


def test_a_folder_that_cannot_be_written_exits_3(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        # Root writes anywhere: the system's refusal is played.
        def refuse(**_arguments: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.mkstemp", refuse)
    else:
        folder.chmod(0o500)
    assert main(["init"]) == 3
    assert capsys.readouterr().err == (
        "edgekit: . cannot be written: Permission denied. Nothing was changed. "
        "Name a folder that you may write to: edgekit init DIR\n"
    )
    folder.chmod(0o700)
    assert names(folder) == []


def test_a_disk_that_fills_up_leaves_the_old_files_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        (folder / name).write_text("mine")
    opened: list[object] = []
    real = os.fdopen

    def fill_up(handle: int, *arguments: object, **options: object) -> object:
        opened.append(handle)
        if len(opened) == 3:
            os.close(handle)
            raise OSError(28, "No space left on device")
        return real(handle, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(scaffold.os, "fdopen", fill_up)
    assert main(["init", "--force"]) == 3
    monkeypatch.undo()
    assert names(folder) == FILES
    assert {(folder / name).read_text() for name in FILES} == {"mine"}


def test_an_unknown_device_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--device", "pi44"]) == 2
    assert capsys.readouterr().err.startswith('edgekit: No device is called "pi44". Did you mean pi4? ')
    assert names(folder) == []


CHECK = """
import numpy as np, torch
import data, model
net = model.build()
again = model.build()
assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values()))
(example,) = model.example_inputs()
assert net(example).shape == (1, 4) and not net.training
calibration = [inputs for (inputs,) in data.calibration()]
assert len(calibration) == 100 and calibration[0].shape == tuple(example.shape) and calibration[0].dtype == np.float32
items = list(data.evaluation())
images = torch.from_numpy(np.concatenate([inputs[0] for inputs, _ in items]))
right = (net(images).argmax(1).numpy() == np.array([label for _, label in items])).mean()
assert len(items) == 1000 and right > 0.95, right
"""


@pytest.mark.runtime
def test_the_model_learns_its_data_and_is_the_same_every_time(folder: Path) -> None:
    pytest.importorskip("torch")
    main(["init"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHECK],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_task_has_its_metric_and_an_example_of_annotated_data(folder: Path) -> None:
    (folder / "net.onnx").write_bytes(b"")
    assert main(["init", "--from", "net.onnx", "--task", "detection"]) == 0
    text = (folder / "edgekit.toml").read_text()
    assert '\ntask = "detection"\n' in text
    assert '\n# evaluation = "instances_val.json"\n' in text
    assert load_task(folder / "edgekit.toml").metric == "agreement_of(metric='map')"


def test_a_task_that_nobody_knows_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "net.onnx").write_bytes(b"")
    assert main(["init", "--from", "net.onnx", "--task", "boxes"]) == 2
    assert f'--task "boxes" is not known: accepted are {", ".join(TASKS)}.' in " ".join(capsys.readouterr().err.split())


def test_a_task_without_a_model_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--task", "detection"]) == 2
    assert "--task is about a model that is there: give --from too. The example without it classifies." in " ".join(
        capsys.readouterr().err.split()
    )
