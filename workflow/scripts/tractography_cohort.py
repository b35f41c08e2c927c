"""Job of rule `tractography_cohort`."""

from pathlib import Path

import pandas as pd
from _job import finish, start

from dysconnect.data.matrices import write_index_of_matrices
from dysconnect.keeping.rows import in_order
from dysconnect.tractography.cohort import collected

input, output, params = start(snakemake)
rows = pd.concat([pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False) for path in input.rows])
rows = in_order(rows, params.order)
index, quality = collected(rows, Path(output.index).absolute().parent, params.matrices, params.uncorrected)
write_index_of_matrices(index, output.index)
quality.to_csv(output.quality, sep="\t", index=False, na_rep="n/a")
finish(snakemake)
