"""Job of rule `joint`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.data.labelled import labelled_cohort, measure_in
from dysconnect.localize.joint import Picture, covariates_of, joint

input, output, params = start(snakemake)
pictures = {}
for name, files in params.pictures.items():
    measure = measure_in(files["connectomes"])
    cohort, _ = labelled_cohort(files["connectomes"], files["participants"], params.contrast, measure)
    pictures[name] = Picture(cohort, covariates_of(cohort.participants, params.localize["nuisance"]))
atlas = load_atlas(params.atlas["nodes"]).set_index("name", drop=False)
nodes = atlas.loc[next(iter(pictures.values())).cohort.nodes].reset_index(drop=True)
found = joint(pictures, edge_circuits(nodes), params.localize)
for name in ("edges", "components", "circuits"):
    getattr(found, name).to_csv(output[name], sep="\t", index=False, float_format="%.6g")
Path(output.summary).write_text(json.dumps(found.summary, indent=1))
finish(snakemake)
