"""Prediction on one new person, from one file that holds all it takes.

`make` writes that file (rule `bundle`), `bundle` reads it and refuses what is not whole, `scan` reads the person,
`calibrate`, `reference` and `norm` say what the models' answer means, how near the person is to the cohort, and how far
from the healthy; `person` puts these together, `page` shows them, and ``dysconnect predict`` is its door.
"""
