"""Job of rule `group_differences`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.participants import read_participants
from dysconnect.localize.associations import compared_groups, group_differences

input, output, params = start(snakemake)
spec = params.localize
names = compared_groups(read_participants(input.participants).query("included")["group"], spec["groups"])
contrast = {"cases": names[1:], "controls": names[:1]}  # chooses the people; their label is not looked at
cohort, _ = labelled_cohort(input.connectomes, input.participants, contrast, spec["measure"])
edges, summary = group_differences(cohort, edge_circuits(load_atlas(params.atlas["nodes"]), cohort.directed), spec)
edges.to_csv(output.edges, sep="\t", index=False, float_format="%.6g")
Path(output.summary).write_text(json.dumps(summary, indent=1))
finish(snakemake)
