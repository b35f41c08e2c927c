"""Stage `share`: a file of sums that a site can read, mail and revoke, and that gives nobody's connections away.

`columns` makes the design with centres that are the same everywhere, `release` adds people up, `gate` refuses what
would give somebody away, `ledger` remembers what was released before, `earlier` compares connections with that,
`package` writes the file and `unpacked` reads those of others, `page` says in plain words what is in it.
"""
