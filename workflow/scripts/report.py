"""Job of rule `report`."""

import json
from datetime import date
from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.atlas import load_atlas
from dysconnect.participants import read_participants
from dysconnect.report import Results, render

input, output, params = start(snakemake)
read, load = (lambda path: pd.read_csv(path, sep="\t")), (lambda path: json.loads(Path(path).read_text()))
names = ("splits", "scores", "comparisons", "curves", "qcfc", "recovery", "targets")
tables = {name: read(input[name]) for name in names if input.get(name)}
tables["edges"] = read(input.edges).dropna(subset="statistic").fillna({"circuit": ""})
histories = {name: read(path) for name, path in zip(params.experiments, input.histories)}
people, nodes = read_participants(input.participants), load_atlas(params.cohort["atlas"]["nodes"])
tables |= {"summary": load(input.summary), "quality": load(input.quality), "histories": histories}
results = Results(people, **tables, stimulation=load(input.verdict)["verdict"] if input.verdict else "")
page = render(results, params.cohort, params.experiments, nodes, date.today().isoformat())
for name, path in output.items():
    Path(path).write_text(page.html if name == "html" else page.figures[name], encoding="utf-8")
