"""Which cores the machines of the published rows have: what lets a machine with few rows learn from its kin."""

from __future__ import annotations

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


_NCNN_THREADS: Final[Mapping[str, int]] = {
    "Raspberry Pi 5": 4, "Raspberry Pi 4B": 4, "Raspberry Pi 3B+": 4, "Raspberry Pi Zero 2 W": 4, "Jetson Nano": 4,
    "Jetson AGX Orin": 8, "Jetson Orin Nano": 6, "Jetson AGX Xavier": 8, "Rockchip RK3588 board": 8,
    "Rockchip RK3399 board": 2, "Khadas VIM3": 4, "Station P2": 4, "Radxa Rock 3A": 4, "Orange Pi CM4": 4,
    "MYIR RemiPi": 2, "EAIDK 310": 4, "Android phone, Snapdragon 410": 4, "Banana Pi M2 Zero": 4,
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
