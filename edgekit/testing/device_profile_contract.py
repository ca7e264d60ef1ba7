"""What every device profile promises: it is read without a fault, found by its names, and names its sources."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest

from edgekit import registry
from edgekit.formats.table import accelerator_files
from edgekit.profiles.profile import DeviceProfile, find_profile, list_profiles, read_profile, shipped_files

LIMITED = ("size", "memory", "accuracy_drop")
"""Costs that an app on any device has a limit for."""


class DeviceProfileContract:
    """Inherit it as `class TestName(DeviceProfileContract)`.

    Class attributes:
        names: The profiles: stems of the TOML files in the package of the entry point.
    """

    names: ClassVar[tuple[str, ...]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Runs what takes a `device` over all of them."""
        if "device" in metafunc.fixturenames:
            metafunc.parametrize("device", self.names)

    def profile(self, device: str) -> DeviceProfile:
        """Returns a profile."""
        return read_profile(shipped_files()[device], shipped=True)

    def test_it_is_found_by_its_name_its_title_and_its_aliases(self, device: str, tmp_path: Path) -> None:
        for name in self.profile(device).names:
            assert find_profile(name, tmp_path).name == device

    def test_its_names_are_nobody_else_s(self, device: str, tmp_path: Path) -> None:
        counts = Counter(
            plain
            for profile in list_profiles(tmp_path)
            for plain in {re.sub(r"[^a-z0-9+]", "", name.lower()) for name in profile.names}
        )
        own = {re.sub(r"[^a-z0-9+]", "", name.lower()) for name in self.profile(device).names}
        assert {name: counts[name] for name in own if counts[name] != 1} == {}

    def test_its_runtimes_and_accelerators_are_known(self, device: str) -> None:
        profile = self.profile(device)
        assert set(profile.runtimes) <= set(registry.format_names())
        assert set(profile.accelerators.values()) <= set(accelerator_files())

    def test_it_limits_what_an_app_may_cost(self, device: str) -> None:
        limited = {limit.name for limit in self.profile(device).budget.limits}
        assert set(LIMITED) <= limited

    def test_each_hardware_fact_says_where_it_comes_from(self, device: str) -> None:
        profile = self.profile(device)
        missing = [
            key
            for key in profile.facts
            if not any(source == "hardware" or source.startswith(f"hardware.{key}") for source in profile.sources)
        ]
        assert missing == []
