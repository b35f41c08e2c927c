"""Job of rule `deviations`."""

from _job import finish, start

from dysconnect.data.atlas import circuit_edges, load_atlas
from dysconnect.data.labelled import labelled_cohort
from dysconnect.localize.people import describe_people

input, output, params = start(snakemake)
spec = params.localize
cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, spec["measure"])
tables = describe_people(cohort, circuit_edges(load_atlas(params.atlas["nodes"]), cohort.directed), spec)
for table, path in zip(tables, (output.people, output.circuits, output.edges)):
    table.to_csv(path, sep="\t", index=False, float_format="%.6g")
finish(snakemake)
