"""Job of rule `share`."""

from pathlib import Path

from _job import finish, start

from dysconnect.share.ledger import FILE
from dysconnect.share.make import make_package
from dysconnect.share.package import write_package
from dysconnect.share.page import page

input, output, params = start(snakemake)
spec = {name: value for name, value in params.items()}
package, passed = make_package(input, input.sums, spec, FILE)
write_package(output.package, package)
Path(output.page).write_text(page(package, passed, Path(output.package).stat().st_size), encoding="utf-8")
print(f"{output.package}: {package.about['people']['n']} people, release {package.about['release']}")
finish(snakemake)
