"""Job of rule `connectivity` where connections are given as numbers."""

import json

import pandas as pd
from _job import finish, start

from dysconnect.connectivity import table_connectomes
from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import write_connectomes

input, output, params = start(snakemake)
edges = pd.read_csv(input.index, sep="\t")
connectomes = table_connectomes(edges, load_atlas(params.atlas["nodes"]), snakemake.wildcards.measure)
write_connectomes(
    connectomes, output.connectomes, {"atlas": params.atlas["name"], "settings": json.dumps(params.settings)}
)
finish(snakemake)
