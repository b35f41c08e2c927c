"""The page beside a site's file: what is in it and what is not, in plain words, for whoever decides to send it."""

from dysconnect.share.package import Package


def page(package: Package) -> str:
    """Make the page."""
    return f"<p>{package.site}</p>"
