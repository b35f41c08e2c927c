"""Job of rule `discard_outputs`."""

from pathlib import Path

from _job import start

from dysconnect.preprocess.fmriprep import discard_outputs

input, output, params = start(snakemake)
print(f"{snakemake.wildcards.participant}: {discard_outputs(Path(input.images).with_suffix('')) / 1e6:.0f} MB free")
