"""The one reader of matrices of connections, as people and programs write them: numbers, and whatever names them.

A row is never taken for a region because of where it stands, unless the user says so: names come from the file itself
(first line, first column, further variables of a ``.mat``) or from a table beside it.
"""

from dysconnect.reading.matrices.align import aligned
from dysconnect.reading.matrices.halves import symmetric
from dysconnect.reading.matrices.names import fitted, read_names
from dysconnect.reading.matrices.rows import holding
from dysconnect.reading.matrices.square import EXTENSIONS, SPARSE, Square, read_square

__all__ = ["EXTENSIONS", "SPARSE", "Square", "aligned", "fitted", "holding", "read_names", "read_square", "symmetric"]
