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
known = results, params.cohort, params.experiments, load_atlas(params.cohort["atlas"]["nodes"])
page = render(*known, day := date.today().isoformat(), images=True)
texts = {"html": page.html, "standalone": alone(page.html), "checklists": checklists_page(Study(*known), day)}
texts["in_short"] = "\n".join(page.in_short) + "\n"
for name, text in texts.items():
    Path(output[name]).write_text(text, encoding="utf-8")
if not params.cohort["report"]["people"]:
    remove_pages(Path(output.html))
page.write_figures({name: output[name] for name in set(output.keys()) - set(texts)})
