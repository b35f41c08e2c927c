"""What a connection is: the measures, how each is computed, stored and put into words."""

KINDS = {"correlation": "correlation", "partial": "partial correlation", "covariance": "covariance"}


# what is stored on disk for each measure: the tangent space is learned from covariances inside training folds
STORED = {"correlation": "correlation", "partial": "partial", "tangent": "covariance"}
