"""The form of a device profile's file: which keys it has, what each accepts, and every fault at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from edgekit import units
from edgekit.budget import Limit, read_limit
from edgekit.errors import InputError
from edgekit.files.faults import FAULT, find_faults, nearest, show_value
from edgekit.registry import ACCELERATORS, FORMATS, format_names

SCHEMA: Final = 1

Kind = Literal["phone", "watch", "raspberry_pi", "jetson", "microcontroller", "other"]
Feature = Literal["neon", "dotprod", "fp16", "i8mm", "bf16", "sve2"]
"""What a processor's instruction set offers: they decide whether int8 or fp16 pays.

neon      128-bit vectors
dotprod   8-bit dot products (SDOT, UDOT): int8 at about four times float's rate
fp16      16-bit float arithmetic, not only storage
i8mm      8-bit matrix multiplication (SMMLA)
bf16      bfloat16 dot products
sve2      scalable vectors
"""

_CLUSTER: Final = re.compile(r"(?P<cores>[1-9]\d*) x (?P<core>\S.*?)(?: (?P<clock>\d+(?:\.\d+)?) GHz)?")
_RATE: Final = re.compile(r"(?P<value>\d+(?:\.\d+)?) (?P<unit>MB/s|GB/s)")
_TOPS: Final = re.compile(r"(?P<value>\d+(?:\.\d+)?) (?P<unit>GOPS|TOPS|GFLOPS|TFLOPS)")

Cluster = tuple[int, str, float | None]
"""Cores, core's name, clock in GHz (None where it is not known)."""


def _fault(sentence: str) -> PydanticCustomError:
    # Braces would be taken for placeholders: the sentence travels as one.
    return PydanticCustomError(FAULT, "{sentence}", {"sentence": sentence})


def parse_cpu(value: object) -> tuple[Cluster, ...]:
    """Returns the clusters of `"1 x Cortex-X3 2.91 GHz + 4 x Cortex-A715 2.37 GHz"`.

    Raises:
        PydanticCustomError: another form.
    """
    matches = [_CLUSTER.fullmatch(part.strip()) for part in value.split("+")] if isinstance(value, str) else [None]
    clusters: list[Cluster] = []
    for match in matches:
        if match is None:
            raise _fault(
                f"{show_value(value)} was given; expected the core clusters, "
                'such as "4 x Cortex-A72 1.5 GHz" or "2 x Cortex-X1 2.8 GHz + 4 x Cortex-A55"'
            )
        clock = match["clock"]
        clusters.append((int(match["cores"]), match["core"], float(clock) if clock else None))
    return tuple(clusters)


def _parse_bytes(value: object) -> int:
    if not isinstance(value, str):
        raise _fault(f'{show_value(value)} was given; expected text with a unit, such as "4 GB" or "512 MiB"')
    try:
        return units.parse_bytes(value, "the amount")
    except InputError as error:
        raise _fault(error.message) from None


def _parse_scaled(pattern: re.Pattern[str], factors: Mapping[str, float], examples: str) -> Callable[[object], float]:
    def parse(value: object) -> float:
        match = pattern.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise _fault(f"{show_value(value)} was given; expected {examples}")
        return float(match["value"]) * factors[match["unit"]]

    return parse


def _parse_runtime(value: object) -> str:
    # Third parties' formats are requested only where a name is not ours: reading entry points takes 40 ms.
    if isinstance(value, str) and (value in FORMATS or value in format_names()):
        return value
    names = format_names()
    meant = nearest(value, names) if isinstance(value, str) else []
    guess = f' (did you mean "{meant[0]}"?)' if meant else ""
    raise _fault(f"{show_value(value)} is not a runtime{guess}; accepted are {', '.join(names)}")


def _parse_accelerator(value: object) -> str:
    if isinstance(value, str) and value in ACCELERATORS:
        return value
    # Third parties' rules are looked for only where a name is not ours, as above.
    from edgekit.formats.table import accelerator_files

    names = sorted(accelerator_files())
    if value in names:
        return str(value)
    meant = nearest(value, names) if isinstance(value, str) else []
    guess = f' (did you mean "{meant[0]}"?)' if meant else ""
    raise _fault(
        f"{show_value(value)} is no accelerator that a format has rules about{guess}; accepted are {', '.join(names)}"
    )


_Bytes = Annotated[int, PlainValidator(_parse_bytes)]
_BytesPerSecond = Annotated[
    float, PlainValidator(_parse_scaled(_RATE, {"MB/s": 1e6, "GB/s": 1e9}, 'a rate, such as "25.6 GB/s" or "800 MB/s"'))
]
_Tops = Annotated[
    float,
    PlainValidator(
        _parse_scaled(
            _TOPS,
            {"GOPS": 1e-3, "TOPS": 1.0, "GFLOPS": 1e-3, "TFLOPS": 1.0},
            'a peak rate, such as "15.8 TOPS" or "472 GFLOPS"',
        )
    ),
]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Runtime = Annotated[str, PlainValidator(_parse_runtime)]
_Accelerator = Annotated[str, PlainValidator(_parse_accelerator)]
_Target = Literal[
    "iOS15", "iOS16", "iOS17", "iOS18", "iOS26", "watchOS8", "watchOS9", "watchOS10", "watchOS11", "watchOS26"
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class HardwareTable(_Table):
    """`[hardware]`: facts about the device."""

    cpu: Annotated[tuple[Cluster, ...], PlainValidator(parse_cpu)] = Field(
        description='the core clusters, such as "4 x Cortex-A72 1.5 GHz"'
    )
    features: list[Feature] = Field(
        description="a list of CPU features out of neon, dotprod, fp16, i8mm, bf16, sve2; [] where there are none"
    )
    soc: _Text | None = Field(None, description='text, such as "Broadcom BCM2711"')
    gpu: _Text | None = Field(None, description='text, such as "Mali-G715 MC7"')
    accelerator: _Text | None = Field(None, description='text, such as "Apple Neural Engine, 16 cores"')
    ai_peak: _Tops | None = Field(None, description='a peak rate, such as "15.8 TOPS"')
    ram: _Bytes | None = Field(None, description='a size, such as "4 GB"')
    ram_free: _Bytes | None = Field(None, description='a size, such as "780 MiB"')
    app_memory_limit: _Bytes | None = Field(None, description='a size, such as "300 MB"')
    memory_bandwidth: _BytesPerSecond | None = Field(None, description='a rate, such as "25.6 GB/s"')
    memcpy_bandwidth: _BytesPerSecond | None = Field(None, description='a rate, such as "2.33 GB/s"')


class ExportOptions(_Table):
    """`[export.<runtime>]`: what this device's runtime asks of an artifact."""

    per_channel: bool | None = Field(None, description="true or false")
    symmetric_activations: bool | None = Field(None, description="true or false")
    accelerator: _Accelerator | None = Field(
        None, description="what this runtime reaches beside the CPU, such as hexagon or nnapi"
    )
    minimum_deployment_target: _Target | None = Field(
        None, description='the oldest system that must load it: "iOS15" to "iOS18", "iOS26", "watchOS8" to "watchOS11"'
    )


_Nanoseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
_RATE_TEXT: Final = "nanoseconds for one unit, 0 or more (predict/latency_features.py says of what)"


class LatencyRates(_Table):
    """`[latency_model.<runtime>.<precision>.ns]`: nanoseconds for one unit of each kind of work."""

    dense_macs: _Nanoseconds = Field(description=_RATE_TEXT)
    dense_3x3_macs: _Nanoseconds = Field(description=_RATE_TEXT)
    shallow_macs: _Nanoseconds = Field(description=_RATE_TEXT)
    grouped_macs: _Nanoseconds = Field(description=_RATE_TEXT)
    pointwise_macs: _Nanoseconds = Field(description=_RATE_TEXT)
    depthwise_macs: _Nanoseconds = Field(description=_RATE_TEXT)
    linear_macs: _Nanoseconds = Field(description=_RATE_TEXT)
    attention_macs: _Nanoseconds = Field(description=_RATE_TEXT)
    recurrent_macs: _Nanoseconds = Field(description=_RATE_TEXT)
    first_macs: _Nanoseconds = Field(0.0, description=f"{_RATE_TEXT}; 0 if left out")
    layer_elements: _Nanoseconds = Field(description=_RATE_TEXT)
    weights: _Nanoseconds = Field(description=_RATE_TEXT)
    linear_weights: _Nanoseconds = Field(description=f"{_RATE_TEXT}; that of weights if left out")
    positions: _Nanoseconds = Field(0.0, description=f"{_RATE_TEXT}; 0 if left out")
    cheap_elements: _Nanoseconds = Field(description=_RATE_TEXT)
    costly_elements: _Nanoseconds = Field(description=_RATE_TEXT)
    pooled_elements: _Nanoseconds = Field(description=_RATE_TEXT)
    moved_elements: _Nanoseconds = Field(description=_RATE_TEXT)
    operators: _Nanoseconds = Field(description=_RATE_TEXT)

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        """Lets profiles be read that were written before linear layers' weights were told apart."""
        is_older = isinstance(data, dict) and "weights" in data and "linear_weights" not in data
        return {**data, "linear_weights": data["weights"]} if is_older else data


class LatencyTable(_Table):
    """`[latency_model.<runtime>.<precision>]`: how fast one runtime runs in one precision, and how well that is known.

    `predict/latency.py` evaluates it, `benchmarks/latency_fidelity/fit.py` writes it.
    """

    unit: Literal["cpu", "gpu", "npu", "neural_engine"] = Field(
        description="what runs the model: cpu, gpu, npu, neural_engine"
    )
    threads: Annotated[int, Field(ge=1)] | None = Field(None, description="number of CPU threads, 1 or more")
    timed: _Text = Field(description='whose kernels were timed, such as "TFLite 2.2 to 2.11 (ruy)"')
    rows: Annotated[int, Field(ge=0)] = Field(description="number of published rows of this device, 0 or more")
    models: Annotated[int, Field(ge=0)] = Field(description="number of models in these rows, 0 or more")
    error: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="median relative error on families left out of the fit, such as 0.11"
    )
    spread: _Share = Field(
        description="standard deviation of the natural logarithm of published / predicted, above 0, such as 0.15"
    )
    doubt: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = Field(
        None,
        description="a table of how far the rates may be off, standard deviations of natural logarithms above 0: "
        "common for a factor that all share, and one for each kind of work",
    )
    untested: list[str] = Field([], description="a list of kinds of work that no fitted row had, keys of ns")
    scaled_from: _Text | None = Field(
        None, description='where the rates come from where this device has no rows, such as "Cortex-A55 at 1.8 GHz"'
    )
    sources: list[_Text] = Field([], description="a list of where the rows come from")
    ns: LatencyRates = Field(description="a table of nanoseconds for one unit of each kind of work")


class RuntimeLatency(_Table):
    """`[latency_model.<runtime>]`: one table for each precision that has rates of its own."""

    fp32: LatencyTable | None = Field(None, description="a table with unit, timed, rows, models, spread and ns")
    fp16: LatencyTable | None = Field(None, description="a table with unit, timed, rows, models, spread and ns")
    int8_static: LatencyTable | None = Field(None, description="a table with unit, timed, rows, models, spread and ns")


class ProfileFile(_Table):
    """A device profile's file."""

    # "schema" is a method of pydantic's BaseModel: the key needs another attribute name.
    schema_version: Literal[1] = Field(alias="schema", description=f"{SCHEMA}, the only schema that this edgekit reads")
    title: _Text = Field(description='the marketing name, such as "Raspberry Pi 4 Model B (4 GB)"')
    description: _Text | None = Field(None, description="a sentence for people")
    aliases: list[_Text] = Field([], description='a list of names that people type, such as ["rpi4", "raspberry pi 4"]')
    kind: Kind = Field(description="one of phone, watch, raspberry_pi, jetson, microcontroller, other")
    runtimes: list[_Runtime] = Field(
        min_length=1, description='a list of runtimes, the preferred first, such as ["tflite", "onnx"]'
    )
    hardware: HardwareTable = Field(description='a table with at least "cpu" and "features"')
    budget: dict[str, Any] = Field({}, description='a table of limits, such as size = "6 MB"')
    export: dict[_Runtime, ExportOptions] = Field({}, description="a table with one table for each runtime")
    latency_model: dict[_Runtime, RuntimeLatency] = Field({}, description="a table with one table for each runtime")
    sources: dict[str, _Text] = Field(
        {}, description='a table from a key\'s path to where its value comes from: "hardware.cpu" = "https://..."'
    )

    def limits(self) -> tuple[Limit, ...]:
        """Returns the limits in `[budget]`.

        Raises:
            InputError: a limit is wrong; `check_profile` has found that before.
        """
        return tuple(read_limit(name, value, "profile") for name, value in self.budget.items())


def check_profile(data: Mapping[str, Any]) -> tuple[ProfileFile | None, tuple[str, ...]]:
    """Returns the checked file, or None and every fault that was found in it.

    Args:
        data: What the TOML file holds.
    """
    file: ProfileFile | None = None
    faults: tuple[str, ...] = ()
    try:
        file = ProfileFile.model_validate(data)
    except ValidationError as error:
        faults = find_faults(error, ProfileFile)
    faults += (*_wrong_limits(data), *_dangling_sources(data))
    return (None, faults) if faults else (file, ())


def _wrong_limits(data: Mapping[str, Any]) -> tuple[str, ...]:
    budget = data.get("budget")
    found = (_wrong_limit(str(name), value) for name, value in budget.items()) if isinstance(budget, Mapping) else ()
    return tuple(fault for fault in found if fault is not None)


def _wrong_limit(name: str, value: object) -> str | None:
    try:
        read_limit(name, value, "profile")
    except InputError as error:
        return f"budget.{name}: {error.message.removeprefix('profile: ')}"
    return None


def _dangling_sources(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns a fault for each source of a key that the file does not have: a fact was renamed, its source was not."""
    sources = data.get("sources")
    if not isinstance(sources, Mapping):
        return ()
    return tuple(
        f'sources."{path}": the file has no {path}; name the key that this is the source of, such as "hardware.cpu"'
        for path in sources
        if not _has(data, str(path))
    )


def _has(data: Mapping[str, Any], path: str) -> bool:
    current: object = data
    for part in path.split("."):
        if not isinstance(current, Mapping) or part not in current:
            return False
        current = current[part]
    return True
