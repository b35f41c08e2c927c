"""Job of rule `atlas`."""

from pathlib import Path

from _job import finish, start

from dysconnect.data.atlas.join import join_atlas, remotes, write_atlas
from dysconnect.fetching import fetch_or_stop

input, output, params = start(snakemake)
folder = Path(params.fetching["folder"]) / "atlases"
fetch_or_stop(remotes(params.atlas), folder, params.fetching)
nodes, image = join_atlas(params.atlas, folder)
write_atlas(nodes, image, dict(output.items()))
finish(snakemake)
