"""`python -m benchmarks._serve_files`: the web process as it is, with the files of `_files`."""

from __future__ import annotations

import sys

from studio.serve import main

if __name__ == "__main__":
    sys.exit(main(application="benchmarks._files:application"))
