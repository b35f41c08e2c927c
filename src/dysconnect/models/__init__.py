"""Models: arrays in, decisions out. They know no files, no configuration and no cohort."""
