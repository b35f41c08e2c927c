"""Job of rule `validate`."""

from _job import finish, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.participants import read_participants
from dysconnect.data.series import read_index
from dysconnect.validate import pool_maker, validate_batch

input, output, params = start(snakemake)
nodes = load_atlas(params.atlas["nodes"])
participants = read_participants(input.participants) if input.participants else None
index = read_index(input.index) if input.index else None
batch = int(snakemake.wildcards.batch)
spec = {name: params[name] for name in ("validate", "localize", "denoise", "estimator")} | {"batch": batch}
make_pool = pool_maker(params.dataset, nodes, params.validate, participants, index)
table = validate_batch(make_pool, nodes, spec, snakemake.wildcards.part, params.cohorts)
table.to_csv(output.cohorts, sep="\t", index=False, float_format="%.6g")
finish(snakemake)
