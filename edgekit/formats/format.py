"""The descriptor of a format: everything that tells one format from another, in one value.

A third party brings one `Format` by the entry point group `edgekit.formats` and gets what the built-in ones have. Code
is named as text, `module:name`, and imported when it is used; what is only data is written as data. What is left out
costs the format that feature, with a reason that people can read: without `inspector`, `edgekit debug` refuses; without
`storage`, the plan predicts no size.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from edgekit.formats.float_kernels import FloatKernel
from edgekit.formats.practice import MeasuredDrop, Rule
from edgekit.formats.realisation import Realisation
from edgekit.formats.stored_bytes import MemoryTerms, Storage
from edgekit.model import IMPORTABLE, CapturedKind
from edgekit.recipe import Precision


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A distribution that a format uses, as `edgekit doctor` lists it.

    Attributes:
        name: Name of the distribution.
        module: What is imported: the part that edgekit uses, for an empty parent imports anywhere.
        purpose: What it is used for.
    """

    name: str
    module: str
    purpose: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What runs a format's artifacts.

    Attributes:
        title: Name for people: `ONNX Runtime`.
        modules: Import names, any one of which is enough.
        install: What pip installs on a device.
        module_title: Name of what is missing there, for messages.
        system: The only operating system on which the runtime itself runs, as `platform.system()` says; "" for any.
        stand_in: What runs artifacts here in its place, of which neither time nor memory means anything; "" for none.
        android_benchmark: TensorFlow's `benchmark_model` runs its files on Android.
        widens_halves: The runtime tells what it made of 16-bit weights, and not what the file holds.
        session_imports: Packages that the session file imports beside NumPy and the runtime.
    """

    title: str
    modules: tuple[str, ...]
    install: str
    module_title: str
    system: str = ""
    stand_in: str = ""
    android_benchmark: bool = False
    widens_halves: bool = False
    session_imports: tuple[str, ...] = ()


Words = Mapping[str, str]
"""What a template asks for beside the facts of a tensor: `array`, `stored`, `wrapped` and so on, by key."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Snippets:
    """The code that edgekit writes for an app.

    Attributes:
        words: Suffix of a language's source files (py, kt, swift, cpp) to how each stored type is spelled there. What a
            language does not list, its API does not take.
        templates: `package:folder` of the Jinja templates `<format>.<suffix>.jinja`.
        version_of: Distribution whose version the templates name; "" for none.
        pictures: Languages with a template `<format>_image.<suffix>.jinja`, for artifacts whose only input is pixels.
        classifiers: The same, where an output is labelled too.
        detectors: Languages with a template `<format>_detector.<suffix>.jinja`, for heads that the platform decodes.
        boxes: The same with `<format>_boxes.<suffix>.jinja`, for artifacts in which the platform suppresses boxes.
        segmenters: The same with `<format>_segmenter.<suffix>.jinja`, for maps of classes.
        platforms: Language to the API that those templates use.
        why_fixed: Language to why its API takes no inputs of open sizes, for those that do not.
    """

    words: Mapping[str, Mapping[str, Words]]
    why_fixed: Mapping[str, str] = field(default_factory=dict[str, str])
    templates: str = "edgekit.usage:templates"
    version_of: str = ""
    pictures: tuple[str, ...] = ()
    classifiers: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()
    segmenters: tuple[str, ...] = ()
    platforms: Mapping[str, str] = field(default_factory=dict[str, str])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        name: What users type: `--format NAME`; the `runtime` of artifacts and reports.
        title: Name for people: `TFLite (LiteRT)`.
        suffix: File suffix of its artifacts, dot included.
        other_suffixes: Suffixes of further files that its runtime loads, made by other tools.
        converter: `module:class` of its `edgekit.converters.base.Converter`.
        session: Module of its runner session, a single file that is run beside `runner.py`, also on devices.
        runtime: What runs its artifacts.
        needs: Import name to distribution name, of what the conversion needs.
        extra: The extra of edgekit that installs these; "" for a format of a third party.
        packages: What `edgekit doctor` lists.
        records: Distributions whose versions go into the report and the lock: they can change an artifact's bytes.
        starts_from: Kinds of captured models that its converter takes.
        why_not_started: Kind of captured model that it does not take, to the reason for people.
        marks_of_artifacts: Bytes of which a finished file holds one, where files of the same suffix are sources of an
            export too; empty where every such file is finished.
        graph_reader: `module:function` that takes the path of a finished file, the shapes of its inputs by name and,
            where the file has several functions, the name of one, and returns its `Analysis` and operator name to
            precision; "" where its graph cannot be read.
        facts_reader: `module:function` that returns the `StoredFacts` of a finished file at a path without its runtime;
            "" where only running it tells.
        inspector: `module:class` of its `edgekit.debugging.inspector.ArtifactInspector`; "" where nobody sees inside.
        accelerators: `package:folder` of rules about accelerators, one TOML file each; "" for none.
        snippets: Code for apps; None for none.
        float_precision: The float that the runtime computes in, and so the one that a plan looks at.
        dynamic_ranges: Its kernels quantize activations at run time.
        storage: How it stores weights; None where that is not known, and then no size is predicted.
        memory: What its runtime's process holds; None where that is not known.
        why_no_memory: Why that is not known, where the reason is the format's own.
        drops: What models lost in it, as far as it was measured.
        practice: What is known of its precisions' speed, before the general rules.
        float_kernels: What its runtime computes in float whatever the recipe asks for.
        realisation: How it rounds; None where that is not known, and then recipes are not simulated for it.
    """

    name: str
    title: str
    suffix: str
    converter: str
    session: str
    runtime: Runtime
    other_suffixes: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict[str, str])
    extra: str = ""
    packages: tuple[Package, ...] = ()
    records: tuple[str, ...] = ()
    starts_from: tuple[CapturedKind, ...] = ("pt2",)
    why_not_started: Mapping[str, str] = field(default_factory=dict[str, str])
    graph_reader: str = ""
    facts_reader: str = ""
    marks_of_artifacts: tuple[bytes, ...] = ()
    inspector: str = ""
    accelerators: str = ""
    snippets: Snippets | None = None
    float_precision: Precision = "fp32"
    dynamic_ranges: bool = True
    storage: Storage | None = None
    memory: MemoryTerms | None = None
    why_no_memory: str = ""
    drops: tuple[MeasuredDrop, ...] = ()
    practice: tuple[Rule, ...] = ()
    float_kernels: tuple[FloatKernel, ...] = ()
    realisation: Realisation | None = None

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of all files that its runtime loads."""
        return (self.suffix, *self.other_suffixes)

    def missing(self) -> tuple[str, ...]:
        """Returns the distributions that the conversion needs and that are not installed. Imports none of them."""
        return tuple(dist for name, dist in self.needs.items() if importlib.util.find_spec(name) is None)

    @property
    def install(self) -> str:
        """The command that installs what the format needs; edgekit's own extras are installed from the checkout."""
        if self.extra:
            return f"pip install -e '.[{self.extra}]'"
        return " ".join(("pip install", *dict.fromkeys((*self.needs.values(), self.runtime.install))))

    @property
    def install_advice(self) -> str:
        """The end of a message about something missing: where and how to install it."""
        return f"Install it{' from the checkout' if self.extra else ''}: {self.install}"

    def kind_from(self, kind: CapturedKind) -> CapturedKind:
        """Returns the kind that the converter starts from for a captured model: a file can become a torch program."""
        return "pt2" if kind in IMPORTABLE and kind not in self.starts_from else kind
