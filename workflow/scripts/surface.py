"""Job of rule `surface`."""

import shutil
from pathlib import Path

from _job import start

from dysconnect.data.atlas.join import remotes
from dysconnect.fetching import fetch_or_stop

input, output, params = start(snakemake)
folder = Path(params.fetching["folder"]) / "atlases"
(file,) = remotes(params.atlas, ["surface"])
fetch_or_stop([file], folder, params.fetching)
shutil.copyfile(folder / file["path"], output.surface)
