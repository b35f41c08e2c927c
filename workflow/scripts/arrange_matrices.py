"""Job of rule `connectivity` where everybody's connections come as a matrix."""

import json

from _job import finish, start

from dysconnect.connectivity import matrix_connectomes
from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import write_connectomes
from dysconnect.data.matrices import read_index_of_matrices

input, output, params = start(snakemake)
nodes, measure = load_atlas(params.atlas["nodes"]), snakemake.wildcards.measure
connectomes = matrix_connectomes(read_index_of_matrices(input.index), nodes, measure)
attributes = {"atlas": params.atlas["name"], "settings": json.dumps(params.settings)}
write_connectomes(connectomes, output.connectomes, attributes)
finish(snakemake)
