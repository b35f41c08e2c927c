"""One trainer for all graph networks: many models of one architecture at once, on one view of the data.

`inputs` makes of people what networks are given, `view` holds or reads it, `stack` is many models as one, `fit` the
loop over epochs, `start` the ridge regression that networks may be added to, `inside` what inner folds decide, `run`
the chunks and what survives an interruption, `pretrain` first weights from people without labels, `model` what the
workflow uses, `classifier` what scikit-learn uses.
"""
