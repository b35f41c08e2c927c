"""Models: arrays in, decisions out. They know no files, no configuration and no cohort."""

GRAPH_MODELS = ("gcn", "gat", "gin", "sage", "brainnetcnn", "bnt", "ibgnn")  # named here: their package loads torch
