#!/bin/sh
# Any CI system, or a Makefile: export, gate, keep the evidence. The exit code is the verdict:
# 0 every budget kept, 1 a budget not kept, 2 wrong input, 3 this machine cannot.
set -u
device="${1:-pi4}"
out="${2:-edgekit-out}"
# 1 is a missed budget, which the gate will tell in full; anything above means that there is nothing to gate.
python -m edgekit export --device "$device" -o "$out" --quiet
code=$?
if [ "$code" -gt 1 ]; then exit "$code"; fi
python -m edgekit verify "$out" --quiet || exit $?
exec python -m edgekit gate "$out" --device "$device" --junit edgekit-junit.xml --markdown edgekit.md
