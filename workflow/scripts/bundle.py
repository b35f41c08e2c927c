"""Job of rule `bundle`."""

from _job import finish, start

from dysconnect.data.measures import STORED
from dysconnect.predict.make import make_bundle

input, output, params = start(snakemake)
spec = {name: value for name, value in params.items()}
spec |= {"experiment": snakemake.wildcards.experiment, "stored": STORED[params.sections["measure"]]}
about = make_bundle(input, spec, output.bundle)
print(f"{output.bundle}: {about['people']['all']} people, {about['experiment']}")
finish(snakemake)
