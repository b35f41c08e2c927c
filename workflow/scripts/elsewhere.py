"""Job of rule `elsewhere`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.labelled import labelled_cohort
from dysconnect.predict.bundle import read_bundle
from dysconnect.predict.elsewhere import tested_elsewhere

input, output, params = start(snakemake)
atlas = load_atlas(params.atlas["nodes"]).set_index("name", drop=False)
found = []
who = input.participants, params.contrast
for path, connectomes, known in zip(input.models, input.connectomes, input.known):
    bundle = read_bundle(path)
    cohort, _ = labelled_cohort(connectomes, *who, bundle.about["measure"])
    recognised, _ = labelled_cohort(known, *who, bundle.about["norm_measure"])
    made = {"estimator": params.estimators[bundle.about["stored"]], "denoise": params.denoise}
    nodes = atlas.loc[cohort.nodes].reset_index(drop=True)
    found.append(tested_elsewhere(bundle, cohort, nodes, made, recognised))
Path(output.models).write_text(json.dumps(found, indent=1))
finish(snakemake)
