"""Job of rule `evaluate`."""

import pandas as pd
from _job import finish, start

from dysconnect.data.participants import read_participants
from dysconnect.evaluate import evaluate
from dysconnect.evaluate.given import refuse_other_runs
from dysconnect.evaluate.tried import remember
from dysconnect.learning.seeds import n_permutations
from dysconnect.models.cards import card_of

input, output, params = start(snakemake)
refuse_other_runs(input.runs, params.sections)
read = lambda files: {name: pd.read_csv(file, sep="\t") for name, file in zip(params.experiments, files)}
splits, participants = pd.read_csv(input.splits, sep="\t"), read_participants(input.participants)
permutations = {name: n_permutations(sections) for name, sections in params.sections.items()}
seeing = [name for name, sections in params.sections.items() if card_of(sections["model"]["name"]).kind != "floor"]
seeds = {name: sections["training"]["seed"] for name, sections in params.sections.items()}
given = read(input.predictions), read(input.nulls), splits, participants, params.covariates, params.evaluate
tables = evaluate(*given, permutations, seeing, seeds)
for name in set(output.keys()) - {"tried"}:
    getattr(tables, name).to_csv(output[name], sep="\t", index=False)
remember(params.settings, tables.scores, seeing, output.tried)
finish(snakemake)
