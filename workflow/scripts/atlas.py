"""Job of rule `atlas`."""

from pathlib import Path

from _job import finish, start

from dysconnect.acquire.transfer import fetch_or_stop
from dysconnect.atlas.join import join_atlas, remotes, write_atlas

input, output, params = start(snakemake)
folder = Path(params.fetching["folder"]) / "atlases"
fetch_or_stop(remotes(params.atlas), folder, params.fetching)
nodes, image = join_atlas(params.atlas, folder)
write_atlas(nodes, image, dict(output.items()))
finish(snakemake)
