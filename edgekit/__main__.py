"""`python -m edgekit`."""

import sys

# -m puts the current folder first on the path: a json.py or onnx.py that lies there would be imported in the place of
# the package. Whoever wants it there says so with PYTHONPATH.
if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

from edgekit.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
