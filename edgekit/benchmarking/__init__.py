"""Benchmarks of artifacts: on this machine, over SSH, over adb."""
