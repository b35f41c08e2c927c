"""Job of rule `attribute_recovery`."""

import pandas as pd
from _job import finish, start

from dysconnect.localize.recovery import weights_recovery

input, output, params = start(snakemake)
edges, truth = pd.read_csv(input.edges, sep="\t"), pd.read_csv(input.truth, sep="\t")
weights_recovery(edges, truth).to_csv(output.recovery, sep="\t", index=False)
finish(snakemake)
