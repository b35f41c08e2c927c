"""Where a head lies: its T1w against the template, other scans against the T1w; kept, and computed once."""
