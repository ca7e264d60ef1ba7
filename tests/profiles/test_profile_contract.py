"""The contract of a device profile over those that edgekit ships: a new file is held to it without any edit here."""

from __future__ import annotations

from edgekit.profiles.profile import shipped_folder
from edgekit.testing.device_profile_contract import DeviceProfileContract


class TestShipped(DeviceProfileContract):
    names = tuple(sorted(path.stem for path in shipped_folder().glob("*.toml")))
