"""Job of rule `report`."""

from datetime import date
from pathlib import Path

from _job import start

from dysconnect.data.atlas import load_atlas
from dysconnect.paper.html import alone
from dysconnect.report import Study, render
from dysconnect.report.checklists import checklists_page
from dysconnect.report.results import read_results
from dysconnect.report.unnamed import remove_pages

input, output, params = start(snakemake)
results = read_results(dict(input.items()), list(params.experiments), input.histories)
nodes = load_atlas(params.cohort["atlas"]["nodes"])
study, day = Study(results, params.cohort, params.experiments, nodes), date.today().isoformat()
page = render(results, params.cohort, params.experiments, nodes, day, images=True)
Path(output.html).write_text(page.html, encoding="utf-8")
Path(output.standalone).write_text(alone(page.html), encoding="utf-8")
Path(output.in_short).write_text("\n".join(page.in_short) + "\n", encoding="utf-8")
Path(output.checklists).write_text(checklists_page(study, day), encoding="utf-8")
if not params.cohort["report"]["people"]:
    remove_pages(Path(output.html))
texts = {"html", "standalone", "in_short", "checklists"}
page.write_figures({name: output[name] for name in set(output.keys()) - texts})
