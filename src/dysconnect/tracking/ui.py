"""Where `make ui` shows the local database."""

import json
import sys
from pathlib import Path

from dysconnect.keeping.address import LOCAL
from dysconnect.tracking.leaderboard import leaderboard_address
from dysconnect.tracking.runs import open_tracking


def main(port: int, handle: Path = Path("results/tracking.json")) -> None:
    """Print where the leaderboard of the local database is, for `make ui`; databases of earlier versions get theirs."""
    name = json.loads(handle.read_text())["experiment"] if handle.exists() else "dysconnect"
    try:
        print(leaderboard_address(f"http://127.0.0.1:{port}", open_tracking(LOCAL, name).experiment_id))
    except ConnectionError as error:
        sys.exit(str(error))
