"""The tables and the plot of how well the latency models predict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from crossvalidate import BAND_QUANTILE, HeldOut, own_spread, spread_scale, summarise
from published import Group, Timing, family
from repeats import repeats_table
from targets import Target, build_for, is_judged

_LEAST_ROWS: Final = 5
_ENOUGH_ROWS: Final = 20
_GOALS: Final = {("Raspberry Pi 4B", "tflite"): 0.15}
_GOAL: Final = 0.25
_SHORTCOMINGS: Final = """\
## What falls short

- The Jetson AGX Orin under TFLite with 12 threads holds a quarter of the rows and most of the errors above 10 %. With
  its family left out, narrow MobileNetV1 are slower and narrow MobileNetV2 faster than predicted, in both builds alike:
  how ruy divides small layers among 12 threads is only roughly told by `first_macs`.
- TensorRT fuses and chooses kernels by timing them. ResNet-50 is all that MLPerf timed in 8 bits on Xavier NX: without
  it only Ultralytics' rows are left, which are timed otherwise. EfficientViT is far off on the Jetson Nano.
- Profiles without rows in a runtime (onnxruntime and ExecuTorch on most boards, all of watches and most phones) are
  not judged by rows of their own. Their bands hold 90 % of the rows of machines whose engine was left out.
- Galaxy S24: the predictions are for its CPU, which a plain app uses. The published rows are of its NPU through
  Qualcomm's delegate; they are fitted below (qnn) and given to no profile.
- A new device without any row is off by its own speed above all: one measured model takes more than half of the median
  error away (`few_shot.md`). Clock, threads, bandwidth and kind of core do not tell it, perhaps because boards are
  cooled and clocked differently under load; the goal of 20 % without rows is not reached.
- How strongly each part of a rate is held (`strengths.json`, set by hand), the term `first_macs` and the weight of
  engines of no profile were chosen among some forty variants on families and devices left out, the same that judge
  here: the share within 10 % is optimistic, and a new family may do worse than these tables say.
"""
_HEADER: Final = (
    "| device | engine | precision | threads | models | rows | median error | within 10 % | within 20 % | in band "
    "| goal |"
)


def inside_band(items: Sequence[HeldOut], found: Sequence[HeldOut]) -> float:
    """Returns the share of rows inside the 90 % band, each family judged by a band that its own rows did not set.

    Args:
        items: Of one group.
        found: Of all groups, whose rows set the band of a group with few.
    """
    inside: list[bool] = []
    for name in sorted({family(item.timing.model) for item in items}):
        mine = [item for item in items if family(item.timing.model) == name]
        rest = [item for item in items if family(item.timing.model) != name]
        others = np.abs(np.concatenate([item.log_errors() for item in rest])) if rest else np.zeros(0)
        scale = 0.0
        if len(others) < _ENOUGH_ROWS:
            scale = spread_scale([item for item in found if family(item.timing.model) != name])
        for item in mine:
            spread = scale * own_spread(item.sigma) or float(np.quantile(others, 0.9)) / BAND_QUANTILE
            inside += [bool(abs(error) <= BAND_QUANTILE * spread) for error in item.log_errors()]
    return float(np.mean(inside))


def write_results(
    timings: Sequence[Timing],
    found: Sequence[HeldOut],
    single: Sequence[HeldOut],
    tables: Mapping[Target, Mapping[str, Any]],
    path: Path | None,
) -> str:
    """Returns the report, and writes it to `path` if there is one."""
    lines = [
        "# Latency: predicted against published",
        "",
        "Written by `python benchmarks/latency_fidelity/fit.py --write`. Error: |predicted / published - 1| over rows",
        "of models that were left out of the fit. A family (all widths, depths and resolutions of MobileNetV2, say) is",
        "left out whole. In band: share of rows inside the 90 % band, where each family's band was set without it.",
        "Each row is predicted at the build of its engine (kernels and version, `builds.py`), which its source names.",
        "",
        "## The ceiling: how far repeated published rows of one model disagree",
        "",
        "Same device, build, precision and threads; each row predicted by the median of the others, which are of other",
        "rounds or by other hands (`repeats.py`). No predictor of these can have more rows within 10 %.",
        "",
        *repeats_table(timings, is_judged),
        "",
        "## Groups that profiles use",
        "",
        *_table(found, is_judged),
        *(["", "One model at a time left out, its other widths and resolutions fitted:", ""] if single else []),
        *(_table(single, is_judged) if single else []),
        "",
        *_SHORTCOMINGS.splitlines(),
        "",
        "## Groups that only lend their speed",
        "",
        *_table(found, lambda group: not is_judged(group)),
        "",
        "## Every model on the Raspberry Pi 4 under TFLite",
        "",
        "By the build whose rates the profile has.",
        "",
        *_models(found, single, _pi4("fp32", timings)),
        "",
        *_models(found, single, _pi4("int8", timings)),
        "",
        "## What each profile got",
        "",
        "| profile | runtime | precision | unit | rows | 90 % band | scaled from |",
        "| --- | --- | --- | --- | ---: | ---: | --- |",
        *(
            f"| {target.profile} | {target.runtime} | {target.precision} | {values['unit']} | {values['rows']} | "
            f"x {np.exp(-BAND_QUANTILE * values['spread']):.2f} to {np.exp(BAND_QUANTILE * values['spread']):.2f} | "
            f"{values.get('scaled_from', '')} |"
            for target, values in tables.items()
        ),
    ]
    text = "\n".join(lines) + "\n"
    if path is not None:
        path.write_text(text, encoding="utf-8")
    return text


def _pi4(precision: str, timings: Sequence[Timing]) -> Group:
    bare = Group(device="Raspberry Pi 4B", threads=4, engine="tflite", precision=precision)
    return replace(bare, build=build_for(bare, timings))


def _order(group: Group) -> tuple[str, str, str, int]:
    return group.device, group.engine, group.precision, group.threads


def _table(found: Sequence[HeldOut], wanted: Callable[[Group], bool]) -> list[str]:
    by_group: defaultdict[Group, list[HeldOut]] = defaultdict(list)
    for item in found:
        if wanted(item.group):
            by_group[replace(item.group, build="")].append(item)
    lines = [
        _HEADER,
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    everything: list[HeldOut] = []
    for group in sorted(by_group, key=_order):
        items = by_group[group]
        measures = summarise(items)
        everything += items
        if measures["rows"] < _LEAST_ROWS:
            continue
        goal = _GOALS.get((group.device, group.engine), _GOAL)
        verdict = ""
        if measures["rows"] >= _ENOUGH_ROWS:
            verdict = "kept" if measures["median"] <= goal else f"missed: {goal:.0%}"
        threads = {0: "", 99: "not stated"}.get(group.threads, str(group.threads))
        lines.append(
            f"| {group.device} | {group.engine} | {group.precision} | {threads} | {_cells(items, measures, found)} "
            f"| {verdict} |"
        )
    if everything:
        lines.append(f"| all | | | | {_cells(everything, summarise(everything), found, by_group)} | |")
    return lines


def _cells(
    items: Sequence[HeldOut],
    measures: Mapping[str, float],
    found: Sequence[HeldOut],
    groups: Mapping[Group, Sequence[HeldOut]] | None = None,
) -> str:
    parts = list(groups.values()) if groups else [items]
    shares = [(inside_band(each, found), sum(len(i.timing.values_ms) for i in each)) for each in parts]
    inside = sum(share * rows for share, rows in shares) / sum(rows for _, rows in shares)
    return (
        f"{measures['models']} | {measures['rows']} | {measures['median']:.1%} | {measures['within_10']:.0%} | "
        f"{measures['within_20']:.0%} | {inside:.0%}"
    )


def _models(found: Sequence[HeldOut], single: Sequence[HeldOut], group: Group) -> list[str]:
    alone = {item.timing.model: item.predicted_ms for item in single if item.group == group}
    lines = [
        f"| {group.precision} model | rows | published (ms) | without its family | error | without it | error |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for item in sorted((i for i in found if i.group == group), key=lambda i: i.timing.model):
        published = item.timing.median_ms
        own = alone.get(item.timing.model)
        last = f"{own:.1f} | {own / published - 1:+.0%}" if own is not None else " | "
        lines.append(
            f"| {item.timing.model} | {len(item.timing.values_ms)} | {published:.1f} | {item.predicted_ms:.1f} | "
            f"{item.predicted_ms / published - 1:+.0%} | {last} |"
        )
    return lines


def write_plot(found: Sequence[HeldOut], path: Path) -> None:
    """Draws predicted against published, one panel for each engine."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    panels = (("tflite", "TFLite, CPU"), ("xnnpack", "XNNPACK, CPU"), ("ncnn", "ncnn, CPU"), ("tensorrt", "TensorRT"),
              ("coreml", "Core ML"), ("qnn", "Qualcomm NPU"))  # fmt: skip
    figure, axes = plt.subplots(2, 3, figsize=(11, 7))
    for (engine, title), axis in zip(panels, axes.flat, strict=True):
        items = [item for item in found if item.group.engine == engine]
        published = [item.timing.median_ms for item in items]
        predicted = [item.predicted_ms for item in items]
        axis.loglog(published, predicted, ".", markersize=3, alpha=0.6)
        ends = [min(published + predicted), max(published + predicted)]
        axis.loglog(ends, ends, color="black", linewidth=0.8)
        for factor in (0.75, 1.25):
            axis.loglog(ends, [factor * end for end in ends], color="grey", linewidth=0.6, linestyle="--")
        axis.set_title(f"{title}: {summarise(items)['median']:.0%} median error", fontsize=9)
        axis.set_xlabel("published (ms)", fontsize=8)
        axis.set_ylabel("predicted, family left out (ms)", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
