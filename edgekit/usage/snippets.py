"""Writes `usage/` beside an export's artifacts: code that runs each of them, from its own inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import jinja2

import edgekit
from edgekit.artifact import Artifact
from edgekit.errors import ResourceError
from edgekit.exporting.report import ExportReport
from edgekit.formats.format import Snippets
from edgekit.formats.table import find_format, known_format, resource_folder
from edgekit.metrics.joined_outputs import read_joined
from edgekit.model import Dimension, TensorSpec
from edgekit.pipeline.artifact_metadata import Embedded, origin_line, read_embedded
from edgekit.plain_text import markdown_code, markdown_text
from edgekit.task.image_input import ImageInput, embedded_image_input
from edgekit.task.picture_readers import SUPPRESSION_KEY, detector_form, is_class_map
from edgekit.task.pictures import LETTERBOX_PIXEL
from edgekit.task.preprocessing import channels_of, describe_preprocessing, image_input
from edgekit.usage.identifiers import pascal_case, quote, snake_case
from edgekit.usage.state_words import state_views
from edgekit.usage.tensor_words import joined_views, size_views, tensor_facts, tensor_views, typical_shape, why_not
from edgekit.workers.atomic_files import write_text

FOLDER: Final = "usage"
"""Beside the artifacts."""

_SHARED: Final = Path(__file__).parent / "templates"
"""Templates and macros that all formats share."""

_LANGUAGES: Final = {"py": "Python", "kt": "Kotlin", "swift": "Swift", "cpp": "C++"}
"""Suffix of a source file to its language."""

_OWN_TEMPLATES: Final = "edgekit.usage:templates"
"""Where the README comes from."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """One source file.

    Attributes:
        name: Name of the file.
        title: Language and runtime, for the list of files.
        text: The source.
    """

    name: str
    title: str
    text: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a template knows about the input that takes a picture; `mean` and `std` have one value a channel.

    With `pixels` the artifact takes bytes, RGB or grey, and does all but the resizing itself.
    """

    name: str
    width: int
    height: int
    channels: int
    channels_first: bool
    count: int
    resize: int | None
    bar: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: str
    describe: str
    pixels: bool = False

    @property
    def crops(self) -> bool:
        """True where a picture is not just scaled to the input."""
        return self.resize is not None or self.bar is not None


def write_usage(report: ExportReport) -> Path | None:
    """Writes the snippets of all artifacts of a report, and returns their folder; None where there is no artifact.

    Files of an earlier export that this one does not write stay.

    Raises:
        ResourceError: the folder cannot be written.
    """
    artifacts = [result.artifact for result in report.results if result.artifact is not None]
    if not artifacts:
        return None
    packages: Mapping[str, str] = report.environment.get("packages", {})
    folder = report.folder / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        opened = report.model.open_sizes if report.model is not None else None
        dimensions = opened.dimensions if opened is not None else ()
        for name, text in usage_files(artifacts, packages, dimensions).items():
            write_text(folder / name, text)
    except OSError as error:
        raise ResourceError(
            f"{folder} cannot be written: {error.strerror}. Give another folder with --output."
        ) from error
    return folder


def usage_files(
    artifacts: Sequence[Artifact], packages: Mapping[str, str], dimensions: Sequence[Dimension] = ()
) -> dict[str, str]:
    """Returns the files of `usage/` by name: snippets, labels, and a README that lists them.

    Args:
        artifacts: Artifacts of one model, as an export made them.
        packages: Distribution to version, for the lines that say what to install.
        dimensions: How far the sizes go that the artifacts leave open.
    """
    files: dict[str, str] = {}
    items: list[dict[str, Any]] = []
    for artifact in artifacts:
        snippets = list(snippets_of(artifact, packages, dimensions))
        files |= {snippet.name: snippet.text for snippet in snippets}
        items.append({**_facts(artifact), "files": snippets, "refused": list(_rejected(artifact))})
    cameras = list(filter(None, map(_camera_model, artifacts)))
    if cameras:
        files["camera.py"] = _render("camera.py.jinja", _OWN_TEMPLATES, models=cameras)
    embedded = read_embedded(artifacts[0].metadata)
    if embedded.labels:
        files["labels.txt"] = "\n".join(embedded.labels) + "\n"
    files["README.md"] = _render(
        "README.md.jinja",
        _OWN_TEMPLATES,
        edgekit=edgekit.__version__,
        items=items,
        dimensions=[item.range_text for item in dimensions],
        labels=embedded.labels,
        labelled=_labelled(artifacts[0].outputs, embedded),
        camera=bool(cameras),
        image=_image(artifacts[0], embedded),
    )
    return files


def snippets_of(
    artifact: Artifact, packages: Mapping[str, str], dimensions: Sequence[Dimension] = ()
) -> Iterator[Snippet]:
    """Yields the source files for one artifact; none where its format brings no templates."""
    embedded = read_embedded(artifact.metadata)
    stem = f"{artifact.path.stem}-{artifact.runtime}"
    made = known_format(artifact.runtime)
    if made is None or made.snippets is None:
        return
    known = made.snippets
    yield from _of_pictures(artifact, known, embedded, stem)
    for language, words in known.words.items():
        if language in _picture_languages(artifact, known):
            continue
        if _why_not(artifact, known, language):
            continue
        inputs = [
            {**view, "typical": typical_shape(spec, dimensions)}
            for view, spec in zip(tensor_views(words, language, artifact.inputs), artifact.inputs, strict=True)
        ]
        outputs = tensor_views(words, language, artifact.outputs)
        labelled = _labelled(artifact.outputs, embedded)
        yield Snippet(
            name=_file_name(stem, language),
            title=f"{_LANGUAGES[language]}, {made.runtime.title}",
            text=_render(
                f"{artifact.runtime}.{language}.jinja",
                known.templates,
                file=artifact.path.name,
                stem=artifact.path.stem,
                cls=pascal_case(stem),
                origin=_comment(origin_line(embedded)),
                version=packages.get(known.version_of, "") if known.version_of else "",
                inputs=inputs,
                outputs=outputs,
                sizes=size_views(language, dimensions, artifact.inputs),
                states=state_views(language, artifact.states, inputs, outputs),
                held=[state.buffer or state.name for state in artifact.states if state.held],
                quantizes=any(tensor["quantized"] for tensor in inputs),
                dequantizes=any(tensor["quantized"] for tensor in outputs),
                integers=not artifact.precision.startswith(("fp32", "fp16")) or "+" in artifact.precision,
                image=_image(artifact, embedded),
                joined=joined_views(language, read_joined(artifact.metadata), artifact.outputs, outputs),
                labelled=outputs[artifact.outputs.index(labelled)] if labelled else None,
            ),
        )


def _camera_model(artifact: Artifact) -> dict[str, Any] | None:
    """Returns what the camera loop knows about an artifact; None where pictures are not all that it takes."""
    embedded = read_embedded(artifact.metadata)
    made = known_format(artifact.runtime)
    image, known = _image(artifact, embedded), made.snippets if made else None
    if image is None or known is None or len(artifact.inputs) != 1 or artifact.states:
        return None
    if "py" not in known.words or "py" in known.pictures or _why_not(artifact, known, "py"):
        return None
    stem = f"{artifact.path.stem}-{artifact.runtime}"
    labelled = _labelled(artifact.outputs, embedded)
    return {
        "module": _file_name(stem, "py").removesuffix(".py"),
        "cls": pascal_case(stem),
        "input": image.name,
        "scores": labelled.name if labelled else None,
    }


def _picture_languages(artifact: Artifact, known: Snippets) -> tuple[str, ...]:
    """Returns the languages whose code hands the artifact's pictures to the platform's own API."""
    embedded = read_embedded(artifact.metadata)
    image = _image(artifact, embedded)
    if image is None or not image.pixels or len(artifact.inputs) != 1:
        return ()
    own = _readers(known).get(_reader(artifact))
    if own is None:
        own = known.classifiers if _labelled(artifact.outputs, embedded) is not None else ()
    return tuple(dict.fromkeys((*known.pictures, *(own if image.channels > 1 else ()))))


def _readers(known: Snippets) -> dict[str, tuple[str, ...]]:
    """Returns the languages that have a template of their own for a kind of model."""
    return {"boxes": known.boxes, "detector": known.detectors, "segmenter": known.segmenters}


def _reader(artifact: Artifact) -> str:
    """Returns whose template reads the outputs of an artifact of pixels: image, boxes, detector or segmenter."""
    if SUPPRESSION_KEY in artifact.metadata:
        return "boxes"
    taken = embedded_image_input(artifact.metadata)
    if taken is None:
        return "image"
    if detector_form(taken, artifact.outputs) is not None:
        return "detector"
    return "segmenter" if is_class_map(taken, artifact.outputs) else "image"


def _of_pictures(artifact: Artifact, known: Snippets, embedded: Embedded, stem: str) -> Iterator[Snippet]:
    """Yields the source files that hand pictures to the platform's own API."""
    made = find_format(artifact.runtime)
    reader = _reader(artifact)
    for language in _picture_languages(artifact, known):
        languages = _readers(known).get(reader, ())
        labelled = _labelled(artifact.outputs, embedded)
        yield Snippet(
            name=_file_name(stem, language),
            title=f"{_LANGUAGES[language]}, {known.platforms.get(language, made.runtime.title)}",
            text=_render(
                f"{artifact.runtime}_{reader if language in languages else 'image'}.{language}.jinja",
                known.templates,
                file=artifact.path.name,
                stem=artifact.path.stem,
                cls=pascal_case(stem),
                origin=_comment(origin_line(embedded)),
                image=_image(artifact, embedded),
                labelled=tensor_facts(labelled) if labelled else None,
                # Platforms' classifiers have one output, and no label twice.
                classifies=labelled is not None
                and len(artifact.outputs) == 1
                and len(set(embedded.labels)) == len(embedded.labels),
                names=_comment(", ".join(spec.name for spec in artifact.outputs)),
            ),
        )


def _file_name(stem: str, language: str) -> str:
    return f"{snake_case(stem) if language in ('py', 'cpp') else pascal_case(stem)}.{language}"


def _rejected(artifact: Artifact) -> Iterator[str]:
    made = known_format(artifact.runtime)
    known = made.snippets if made else None
    if known is None or not known.words:
        yield f"There is no snippet for {artifact.runtime}: its format brings no templates."
        return
    own = _picture_languages(artifact, known)
    for language in (name for name in known.words if name not in own):
        if reason := _why_not(artifact, known, language):
            yield f"No {_LANGUAGES[language]}: {reason}."


def _why_not(artifact: Artifact, known: Snippets, language: str) -> str | None:
    """Returns why there is no snippet in a language, None where there is one."""
    if language in known.why_fixed and any(-1 in spec.shape for spec in artifact.inputs):
        return known.why_fixed[language]
    return why_not(known.words[language], language, (*artifact.inputs, *artifact.outputs))


def _facts(artifact: Artifact) -> dict[str, Any]:
    return {
        "file": artifact.path.name,
        "origin": origin_line(read_embedded(artifact.metadata)),
        "inputs": [tensor_facts(spec) for spec in artifact.inputs],
        "outputs": [tensor_facts(spec) for spec in artifact.outputs],
        "states": [state.to_json() for state in artifact.states],
        "joined": read_joined(artifact.metadata),
    }


def _labelled(outputs: Sequence[TensorSpec], embedded: Embedded) -> TensorSpec | None:
    """Returns the output whose entries the labels name: the first one of real values with as many, (1, N)."""
    count = len(embedded.labels)
    return next(
        (
            spec
            for spec in outputs
            if count and spec.shape == (1, count) and (spec.dtype.startswith("float") or spec.scale is not None)
        ),
        None,
    )


def _image(artifact: Artifact, embedded: Embedded) -> Image | None:
    if (taken := embedded_image_input(artifact.metadata)) is not None:
        return _pixels(artifact, taken)
    spec, steps = image_input(artifact.inputs), embedded.preprocessing
    if spec is None or steps is None or -1 in spec.shape:
        return None
    channels = channels_of(spec)
    height, width = spec.shape[2:4] if spec.layout == "NCHW" else spec.shape[1:3]
    return Image(
        name=spec.name,
        width=width,
        height=height,
        channels=channels,
        channels_first=spec.layout == "NCHW",
        count=width * height * channels,
        resize=steps.resize,
        bar=LETTERBOX_PIXEL if steps.letterbox else None,
        mean=_each_channel(steps.mean, channels),
        std=_each_channel(steps.std, channels),
        color=steps.color,
        describe=describe_preprocessing(steps, spec),
    )


def _pixels(artifact: Artifact, taken: ImageInput) -> Image | None:
    """Returns what a template knows about an input of pixels."""
    spec = next((spec for spec in artifact.inputs if taken.is_pixels(spec)), None)
    if spec is None:
        return None
    width, height = taken.size
    resizing = replace(taken.steps, mean=(0.0,), std=(1.0,), color="rgb")
    return Image(
        name=spec.name,
        width=width,
        height=height,
        channels=taken.channels,
        channels_first=False,
        count=width * height * taken.channels,
        resize=taken.steps.resize,
        bar=LETTERBOX_PIXEL if taken.steps.letterbox else None,
        mean=(),
        std=(),
        color="rgb",
        describe=describe_preprocessing(resizing, taken.spec).partition(", (pixel")[0],
        pixels=True,
    )


def _each_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _comment(text: str) -> str:
    """Returns text that ends no comment and no docstring, whatever a user's path holds."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


def _render(template: str, templates: str, **context: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader((resource_folder(templates), _SHARED)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  it writes source code, not HTML
    )
    environment.filters["quote"] = quote
    environment.filters["markdown"] = markdown_text
    environment.filters["markdown_code"] = markdown_code
    environment.filters["capitalize_first"] = _capitalize_first
    text = environment.get_template(template).render(**context)
    # Python alone has two empty lines between definitions.
    return _tidy(text, empty_lines=2 if ".py." in template else 1)


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tidy(text: str, *, empty_lines: int) -> str:
    """Returns the text without spaces at line ends, and with so many empty lines in a row at most."""
    without_spaces = re.sub(r"[ \t]+\n", "\n", text)
    tidied = re.sub(rf"\n{{{empty_lines + 2},}}", "\n" * (empty_lines + 1), without_spaces)
    return re.sub(r"\n+(\s*}\n)", r"\n\1", tidied).rstrip("\n") + "\n"
