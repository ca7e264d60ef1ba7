"""The gate for CI: verdict on an export, baseline, comparison."""
