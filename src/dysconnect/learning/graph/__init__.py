"""One trainer for all graph networks: many models of one architecture at once, on one view of the data.

`view` holds or reads the data, `stack` many models as one, `fit` the loop over epochs, `run` the search, the
chunks and what survives an interruption, `pretrain` first weights from people without labels, `model` what the workflow
uses, `classifier` what scikit-learn uses.
"""
