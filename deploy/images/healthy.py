"""Asks an address of this container; ends with 0 if it is well. Needs nothing but Python."""

import sys
import urllib.request

try:
    with urllib.request.urlopen(sys.argv[1], timeout=4) as answer:  # noqa: S310 - written in the image
        sys.exit(0 if answer.status == 200 else 1)
except OSError:
    sys.exit(1)
