"""Things: atlas, participants, series, images, pairs of regions, measures, connectomes and the cohort made of them."""
