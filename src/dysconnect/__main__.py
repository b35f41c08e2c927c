"""``python -m dysconnect``: the doors of ``dysconnect``; without the name of one, a scratch sweep."""

import sys

from dysconnect.commands import DOORS, console

if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(console(given if given[:1] and given[0] in DOORS else ["sweep", *given]))
