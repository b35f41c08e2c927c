"""Job of rule `sums`."""

from _job import finish, start

from dysconnect.keeping.whole import save_arrays
from dysconnect.share.make import make_sums

input, output, params = start(snakemake)
spec = {name: value for name, value in params.items()}
save_arrays(output.sums, make_sums(input, spec, int(snakemake.wildcards.batch)))
finish(snakemake)
