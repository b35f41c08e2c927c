"""What comes in: tables, cells, numbers, BIDS names and sidecars, one reader each, none of which guesses in silence."""
