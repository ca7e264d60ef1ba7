"""Which cores the machines of the published rows have: what lets a machine with few rows learn from its kin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from published import Group

_CORES: Final[Mapping[str, tuple[str, bool]]] = {
    "Raspberry Pi 5": ("Cortex-A76", True),
    "Raspberry Pi 4B": ("Cortex-A72", False),
    "Raspberry Pi 3B+": ("Cortex-A53", False),
    "Raspberry Pi 3B": ("Cortex-A53", False),
    "Raspberry Pi Zero 2 W": ("Cortex-A53", False),
    "Raspberry Pi 2": ("Cortex-A7", False),
    "RK3588S board": ("Cortex-A76", True),
    "Rockchip RK3588 board": ("Cortex-A76", True),
    "Orange Pi 5": ("Cortex-A76", True),
    "Firefly-RK3399": ("Cortex-A72", False),
    "Orange Pi 4 LTS": ("Cortex-A72", False),
    "Rockchip RK3399 board": ("Cortex-A72", False),
    "Odroid-N2 (S922X)": ("Cortex-A73", False),
    "Khadas VIM3": ("Cortex-A73", False),
    "Jetson AGX Xavier": ("Carmel", False),
    "Jetson Xavier NX": ("Carmel", False),
    "Jetson AGX Orin": ("Cortex-A78AE", True),
    "Jetson Orin Nano": ("Cortex-A78AE", True),
    "Jetson Orin Nano Super": ("Cortex-A78AE", True),
    "Jetson Orin NX 16GB": ("Cortex-A78AE", True),
    "Jetson Orin NX": ("Cortex-A78AE", True),
    "Jetson AGX Thor": ("Neoverse-V3AE", True),
    "Jetson Nano": ("Cortex-A57", False),
    "Jetson TX2": ("Cortex-A57", False),
    "Station P2": ("Cortex-A55", True),
    "Radxa Rock 3A": ("Cortex-A55", True),
    "Orange Pi CM4": ("Cortex-A55", True),
    "Avaota Aim T527": ("Cortex-A55", True),
    "MYIR RemiPi": ("Cortex-A55", True),
    "Radxa Zero 3W": ("Cortex-A55", True),
    "Android phone, Snapdragon 410": ("Cortex-A53", False),
    "EAIDK 310": ("Cortex-A53", False),
    "NanoPi R2S": ("Cortex-A53", False),
    "Orange Pi Zero 2": ("Cortex-A53", False),
    "Arduino UNO Q": ("Cortex-A53", False),
    "Banana Pi M2 Zero": ("Cortex-A7", False),
    "i.MX7 Dual board": ("Cortex-A7", False),
    "Google Pixel 1": ("Kryo", False),
    "Google Pixel 2": ("Cortex-A73", False),
    "Google Pixel 3": ("Cortex-A75", False),
    "Google Pixel 3a": ("Cortex-A75", False),
    "Google Pixel 4": ("Cortex-A76", True),
    "Google Pixel 10": ("Cortex-X4", True),
    "Huawei Mate 10 Pro (Kirin 970)": ("Cortex-A73", False),
    "Xiaomi Mi 9": ("Cortex-A76", True),
    "OnePlus 7T": ("Cortex-A76", True),
    "Android phone, Snapdragon 865": ("Cortex-A77", True),
    "Snapdragon 888 phone (adb name venus)": ("Cortex-X1", True),
    "Android phone, Snapdragon 8 Gen 2": ("Cortex-X3", True),
    "Radxa Orion O6": ("Cortex-X4", True),
    "MediaTek reference k6989v1": ("Cortex-X4", True),
    "iPhone 7": ("Apple A10", False),
    "iPhone 11 Pro": ("Apple A13", True),
    "iPhone 12": ("Apple A14", True),
    "iPhone 14": ("Apple A15", True),
    "iPhone 17 Pro": ("Apple A19", True),
    "MacBook Pro M1 2020": ("Apple A14", True),
    "MacBook Air M3 2024": ("Apple A16", True),
    "Samsung Galaxy S23": ("Snapdragon 8 Gen 2", True),
    "Samsung Galaxy S24": ("Snapdragon 8 Gen 3", True),
    "Samsung Galaxy S25": ("Snapdragon 8 Elite", True),
}
"""Source's name of a device to its fastest core and whether that has 8-bit dot products."""


_CLOCKS: Final[Mapping[str, float]] = {
    "Raspberry Pi 5": 2.4, "Raspberry Pi 4B": 1.5, "Raspberry Pi 3B+": 1.4, "Raspberry Pi 3B": 1.2,
    "Raspberry Pi Zero 2 W": 1.0, "Raspberry Pi 2": 0.9, "RK3588S board": 2.3, "Rockchip RK3588 board": 2.4,
    "Orange Pi 5": 2.4, "Firefly-RK3399": 1.8, "Orange Pi 4 LTS": 1.8, "Rockchip RK3399 board": 1.8,
    "Odroid-N2 (S922X)": 1.8, "Khadas VIM3": 2.2, "Jetson AGX Xavier": 2.25, "Jetson Xavier NX": 1.9,
    "Jetson AGX Orin": 2.2, "Jetson Orin Nano": 1.5, "Jetson Orin Nano Super": 1.7, "Jetson Orin NX 16GB": 2.0,
    "Jetson Orin NX": 2.0, "Jetson AGX Thor": 2.6, "Jetson Nano": 1.43, "Jetson TX2": 2.0, "Station P2": 2.0,
    "Radxa Rock 3A": 2.0, "Orange Pi CM4": 1.8, "Avaota Aim T527": 1.8, "MYIR RemiPi": 1.5, "Radxa Zero 3W": 1.6,
    "Android phone, Snapdragon 410": 1.2, "EAIDK 310": 1.3, "NanoPi R2S": 1.5, "Orange Pi Zero 2": 1.5,
    "Arduino UNO Q": 2.0, "Banana Pi M2 Zero": 1.0, "i.MX7 Dual board": 1.0, "Google Pixel 1": 2.15,
    "Google Pixel 2": 2.35, "Google Pixel 3": 2.5, "Google Pixel 3a": 2.0, "Google Pixel 4": 2.84,
    "Google Pixel 10": 3.78, "Huawei Mate 10 Pro (Kirin 970)": 2.36, "Xiaomi Mi 9": 2.84, "OnePlus 7T": 2.96,
    "Android phone, Snapdragon 865": 2.84, "Snapdragon 888 phone (adb name venus)": 2.84,
    "Android phone, Snapdragon 8 Gen 2": 3.2, "Radxa Orion O6": 2.6, "MediaTek reference k6989v1": 3.25,
    "iPhone 7": 2.34, "iPhone 11 Pro": 2.65, "iPhone 12": 3.1, "iPhone 14": 3.23, "iPhone 17 Pro": 4.26,
    "MacBook Pro M1 2020": 3.2, "MacBook Air M3 2024": 4.05,
}  # fmt: skip
"""Device to the clock of its fastest core in GHz, by its vendor or the rows' own sources, put down by hand.

Like the two tables below it only sets what the prior expects; the published rows decide."""

_PRODUCTS_A_CYCLE: Final[Mapping[str, int]] = {
    "Cortex-A7": 1, "Cortex-A53": 4, "Cortex-A55": 4, "Cortex-A57": 4, "Cortex-A72": 4, "Cortex-A73": 4, "Kryo": 4,
    "Cortex-A75": 8, "Cortex-A76": 8, "Cortex-A77": 8, "Cortex-A78AE": 8, "Carmel": 8, "Cortex-X1": 16,
    "Cortex-X3": 16, "Cortex-X4": 16, "Neoverse-V3AE": 16, "Apple A10": 12, "Apple A13": 12, "Apple A14": 16,
    "Apple A15": 16, "Apple A16": 16, "Apple A19": 16,
}  # fmt: skip
"""Core to the multiply-accumulates in single precision that its vectors start in one cycle (vendors' guides)."""

_ACCELERATOR_TFLOPS: Final[Mapping[str, float]] = {
    "Jetson Nano": 0.47, "Jetson TX2": 1.33, "Jetson Xavier NX": 6.0, "Jetson AGX Xavier": 11.0,
    "Jetson Orin Nano": 10.0, "Jetson Orin Nano Super": 17.0, "Jetson Orin NX 16GB": 25.0, "Jetson Orin NX": 25.0,
    "Jetson AGX Orin": 42.0,
    "Jetson AGX Thor": 250.0, "iPhone 11 Pro": 5.5, "iPhone 12": 11.0, "iPhone 14": 15.8, "iPhone 17 Pro": 44.0,
    "MacBook Pro M1 2020": 11.0, "MacBook Air M3 2024": 18.0, "Samsung Galaxy S23": 17.0, "Samsung Galaxy S24": 22.0,
    "Samsung Galaxy S25": 30.0,
}  # fmt: skip
"""Device to the peak of its GPU or neural engine in 16-bit floats (vendors and `device_facts.csv`)."""

_BANDWIDTH_GBS: Final[Mapping[str, float]] = {
    "Raspberry Pi 5": 17, "Raspberry Pi 4B": 12.8, "Raspberry Pi 3B+": 3.6, "Raspberry Pi 3B": 3.6,
    "Raspberry Pi Zero 2 W": 3.6, "Jetson Nano": 25.6, "Jetson TX2": 59.7, "Jetson Xavier NX": 59.7,
    "Jetson AGX Xavier": 136.5, "Jetson Orin Nano": 68, "Jetson Orin Nano Super": 102, "Jetson Orin NX 16GB": 102.4,
    "Jetson Orin NX": 102.4, "Jetson AGX Orin": 204.8, "Jetson AGX Thor": 273, "Firefly-RK3399": 12.8,
    "Rockchip RK3399 board": 12.8, "RK3588S board": 34, "Rockchip RK3588 board": 34, "Odroid-N2 (S922X)": 10.6,
    "Khadas VIM3": 12.8, "Android phone, Snapdragon 8 Gen 2": 67, "Snapdragon 888 phone (adb name venus)": 51,
    "MacBook Pro M1 2020": 68, "MacBook Air M3 2024": 102, "iPhone 12": 34, "iPhone 14": 34, "iPhone 17 Pro": 77,
    "Google Pixel 4": 34, "Google Pixel 2": 29.8, "Google Pixel 1": 29.8, "Huawei Mate 10 Pro (Kirin 970)": 29.8,
    "MediaTek reference k6989v1": 77, "Samsung Galaxy S23": 67, "Samsung Galaxy S24": 77, "Samsung Galaxy S25": 85,
}  # fmt: skip
"""Device to the peak of its memory in 10^9 bytes a second: width times transfers by its vendor, and
`device_facts.csv`. Machines that are not named get what is typical."""

_IN_ORDER: Final = frozenset({"Cortex-A7", "Cortex-A53", "Cortex-A55"})
"""Cores that wait for each load."""

_THREADS_GAIN: Final = 0.8
"""Power of the number of threads by which published rows grow faster."""

_PEAK_GAIN: Final = 0.7
"""Power of an accelerator's peak by which published rows grow faster: the rest waits for memory and starts kernels."""

_UNSTATED_THREADS: Final = 4


def peak_gmacs(group: Group) -> float | None:
    """Returns how fast a machine is expected to be, in 10^9 multiply-accumulates a second; None where nobody says."""
    if group.engine in ("tensorrt", "coreml", "qnn"):
        peak = _ACCELERATOR_TFLOPS.get(group.device)
        return None if peak is None else 500 * peak**_PEAK_GAIN
    clock, width = _CLOCKS.get(group.device), _PRODUCTS_A_CYCLE.get(core_of(group.device))
    if clock is None or width is None:
        return None
    threads = _UNSTATED_THREADS if group.threads == 99 else group.threads
    return float(clock * width * threads**_THREADS_GAIN)


def published_figures(group: Group) -> dict[str, float]:
    """Returns what is published about a machine, as logarithms around a typical one: what rates may depend on.

    A figure that nobody publishes is left out, which stands for the typical one.
    """
    bandwidth, found = _BANDWIDTH_GBS.get(group.device), dict[str, float]()
    if group.engine in ("tensorrt", "coreml", "qnn"):
        if group.device in _ACCELERATOR_TFLOPS:
            found["accelerator_peak"] = math.log(_ACCELERATOR_TFLOPS[group.device] / 15)
        if bandwidth:
            found["accelerator_bandwidth"] = math.log(bandwidth / 70)
        return found
    threads = _UNSTATED_THREADS if group.threads == 99 else group.threads
    found |= {"threads": math.log(threads / 3), "in_order": (core_of(group.device) in _IN_ORDER) - 0.3}
    if group.device in _CLOCKS:
        found["clock"] = math.log(_CLOCKS[group.device] / 2)
    if bandwidth:
        found["bandwidth"] = math.log(bandwidth / 25)
    return found


_NCNN_THREADS: Final[Mapping[str, int]] = {
    "Raspberry Pi 5": 4, "Raspberry Pi 4B": 4, "Raspberry Pi 3B+": 4, "Raspberry Pi Zero 2 W": 4, "Jetson Nano": 4,
    "Jetson AGX Orin": 8, "Jetson Orin Nano": 6, "Jetson AGX Xavier": 8, "Rockchip RK3588 board": 8,
    "Rockchip RK3399 board": 2, "Khadas VIM3": 4, "Station P2": 4, "Radxa Rock 3A": 4, "Orange Pi CM4": 4,
    "MYIR RemiPi": 4, "EAIDK 310": 4, "Android phone, Snapdragon 410": 4, "Banana Pi M2 Zero": 4,
    "i.MX7 Dual board": 2, "Snapdragon 888 phone (adb name venus)": 8, "Android phone, Snapdragon 8 Gen 2": 8,
    "MediaTek reference k6989v1": 8, "Radxa Orion O6": 8, "MacBook Pro M1 2020": 1, "MacBook Air M3 2024": 1,
}  # fmt: skip
"""ncnn is no runtime of edgekit; its rows tell how fast machines are beside each other, with all big cores at work."""


def is_used(group: Group) -> bool:
    """Returns True if the fit uses this group's rows."""
    if group.engine == "ncnn":
        return _NCNN_THREADS.get(group.device) == group.threads
    return group.device in _CORES and group.engine != "armnn"


def core_of(device: str) -> str:
    """Returns the name of a device's fastest core."""
    return _CORES[device][0]


def has_dot_products(device: str) -> bool:
    """Returns True if a device's fastest core has 8-bit dot products."""
    return _CORES[device][1]
