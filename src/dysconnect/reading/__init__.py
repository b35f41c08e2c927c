"""What comes in: tables, cells, numbers, BIDS names and sidecars, each with one reader that never guesses in silence."""
