"""Sources by kind, what kind a source is, and which formats each kind can reach. Imports no framework."""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path
from typing import Any, Final

from edgekit.errors import ModelError, PluginError
from edgekit.model import SourceKind
from edgekit.plugins import load_plugin
from edgekit.registry import format_names, source_targets
from edgekit.sources.base import Source
from edgekit.sources.torchscript.archive import is_torchscript
from edgekit.task.user_code import nearest_names, split_reference

ACCEPTED: Final = (
    "module:factory, file.py:factory, or a .pt2, TorchScript, .onnx, .keras, .h5, .pb or .tflite file, "
    "or a SavedModel folder"
)
"""What a model source may be, for messages."""

_PICKLES: Final = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"})
_WEIGHTS: Final = frozenset({".safetensors", ".npz", ".npy"})


def source(kind: SourceKind) -> Source:
    """Returns the source of a kind.

    Raises:
        PluginError: a third party's that cannot be loaded, or is no source.
    """
    return _loaded(kind, source_targets()[kind])


@cache
def _loaded(kind: SourceKind, target: str) -> Source:
    found: Any = load_plugin("source", kind, target)
    if not (isinstance(found, type) and issubclass(found, Source)) or found.kind != kind:
        raise PluginError(
            f'The entry point "{kind}" of edgekit.sources must name a subclass of edgekit.sources.base.Source of kind '
            f'"{kind}"; {target} is not one. Mend the distribution that brings it.'
        )
    return found()


@cache
def _by_suffix() -> dict[str, Source]:
    """Returns the sources that are files, by suffix; edgekit's own win. A third party's that does not load is left."""
    found: dict[str, Source] = {}
    for kind in source_targets():
        try:
            one = source(kind)
        except PluginError:
            continue
        found = {**dict.fromkeys(one.suffixes, one), **found}
    return found


def reach(kind: SourceKind) -> dict[str, str | None]:
    """Returns for each format None if a source of this kind can reach it, else the reason why not."""
    one = source(kind)
    return {target: one.why_not(target) for target in format_names()}


def classify(text: str, base: Path, named_in: str = "") -> SourceKind:
    """Returns what kind a model source is, from its form, its suffix and its first bytes.

    Args:
        text: What the user wrote.
        base: Folder that relative paths start from.
        named_in: The file where it was written, "" for none: what is no source at all may not be found without it.

    Raises:
        ModelError: nothing there, an unknown suffix, a pickle, or a file that is not what its suffix says.
    """
    place = f"{named_in}: model.source: " if named_in else ""
    if not text.strip():
        raise ModelError(f"{place}The model source is empty; expected {ACCEPTED}.")
    path = base / text
    if path.is_dir():
        return _classify_folder(text, path)
    suffix = path.suffix.lower()
    if path.exists() and not path.is_file():
        raise ModelError(f"{text} is a FIFO or a device; expected {ACCEPTED}.")
    if path.is_file():
        return _classify_file(text, path, suffix)
    if ":" in text and suffix not in _by_suffix():
        split_reference(text, "The model source", ModelError)
        return "torch"
    if suffix in _by_suffix() or suffix in _PICKLES or suffix in _WEIGHTS or suffix == ".py" or "/" in text:
        names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest_names(path.name, names) if names else ""
        raise ModelError(f"{text}: no such file or folder in {base.resolve()}.{near if 'Did you' in near else ''}")
    raise ModelError(
        f'{place}"{text}" is no model source: there is no such file, and it has no colon. Expected {ACCEPTED}.'
    )


def _classify_folder(text: str, path: Path) -> SourceKind:
    if (path / "saved_model.pb").is_file():
        return "savedmodel"
    if path.suffix.lower() == ".mlpackage":
        raise ModelError(
            f"{text} is a Core ML package: it is an artifact, not a source. Check it with edgekit validate."
        )
    raise ModelError(
        f"{text} is a folder without saved_model.pb, so it is no SavedModel. "
        "Expected a folder that model.export or tf.saved_model.save wrote, or the path of a model file."
    )


def _classify_file(text: str, path: Path, suffix: str) -> SourceKind:
    with path.open("rb") as stream:
        head = stream.read(64)
    if suffix == ".py":
        raise ModelError(f"{text} is a Python file; name its factory too, for example {text}:build.")
    if suffix == ".pb" and path.name == "saved_model.pb":
        raise ModelError(f"{text} is a part of a SavedModel; give its folder: {Path(text).parent}.")
    if suffix in _PICKLES and is_torchscript(path):
        return "torchscript"
    if suffix in _by_suffix():
        _check_signature(text, path, suffix, head)
        return _by_suffix()[suffix].kind
    if suffix in _PICKLES:
        raise ModelError(pickle_message(text))
    if suffix in _WEIGHTS:
        raise ModelError(
            f"{text} holds weights without an architecture. Write a factory that builds the module, loads them and "
            "returns it, and give model.py:build."
        )
    if suffix in (".pte", ".ort", ".mlmodel"):
        raise ModelError(f"{text} is an artifact, not a source. Check it with edgekit validate.")
    raise ModelError(f"{text}: the suffix {suffix or '(none)'} is not known. Expected {ACCEPTED}.")


def pickle_message(text: str) -> str:
    """Returns why a pickle is refused and what to do instead."""
    return (
        f"{text} is a pickle, and loading a pickle runs whatever code it holds: edgekit loads none. "
        "Give a factory that loads the weights only:\n"
        "    def build():\n"
        f"        model = Net(); model.load_state_dict(torch.load({Path(text).name!r}, weights_only=True))\n"
        "        return model.eval()\n"
        "and name it: model.py:build. A whole pickled module must first be saved as a state dict where it came from."
    )


def _is_whole_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # an end that speaks of other disks
        return False


def _check_signature(text: str, path: Path, suffix: str, head: bytes) -> None:
    if not head:
        raise ModelError(f"{text} is empty (0 bytes).")
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"{text} is a Git LFS pointer and not the file itself. Fetch it: git lfs pull.")
    signature = _by_suffix()[suffix].starts_with.get(suffix)
    if signature is None:
        return
    offset, wanted, words = signature
    if head[offset : offset + len(wanted)] != wanted:
        raise ModelError(
            f"{text} is not {words}: it begins with {head[:8].hex(' ')} ({path.stat().st_size} bytes). "
            "It is damaged, or its suffix is wrong."
        )
    if wanted.startswith(b"PK") and not _is_whole_zip(path):
        raise ModelError(
            f"{text} is damaged: it begins as {words} and has no end ({path.stat().st_size} bytes). "
            "Copy or save the file again."
        )
