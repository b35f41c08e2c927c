"""Job of rule `connectivity`."""

import json

from _job import finish, start

from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import write_connectomes
from dysconnect.data.series import read_index

input, output, params = start(snakemake)
nodes, measure = load_atlas(params.atlas["nodes"]), snakemake.wildcards.measure
connectomes = cohort_connectomes(read_index(input.index), nodes, measure, params.estimator, snakemake.threads)
attributes = {"atlas": params.atlas["name"], "estimator": params.estimator, "settings": json.dumps(params.settings)}
write_connectomes(connectomes, output.connectomes, attributes)
finish(snakemake)
