"""`python3 -m launcher`: the way in. Says so in a sentence when Python is too old for the rest."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - people do try it with an old one
    sys.exit(
        "The studio needs Python 3.11, 3.12 or 3.13, and this is {}.{}. Install one of them and "
        "run it by name, for example: python3.13 -m launcher up".format(*sys.version_info[:2])
    )

from launcher.cli import main

sys.exit(main(sys.argv[1:]))
