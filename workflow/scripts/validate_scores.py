"""Job of rule `validate_scores`."""

import pandas as pd
from _job import finish, start

from dysconnect.validate.scores import gather

input, output, params = start(snakemake)
cohorts = pd.concat([pd.read_csv(path, sep="\t") for path in input.batches], ignore_index=True)
cohorts.to_csv(output.cohorts, sep="\t", index=False, float_format="%.6g")
gather(cohorts).to_csv(output.scores, sep="\t", index=False, float_format="%.6g")
finish(snakemake)
