"""Names and folders as BIDS has them: what a name says, which files belong together, and which one is meant.

A scan is chosen first; whatever goes with it (mask, confounds, anatomy, sidecars) must agree with it in every entity
that both names carry. Where several scans could be meant, a key of the configuration decides, or nobody does.
"""

from dysconnect.reading.bids.choice import Ambiguity, Choice, choose, companion, refuse_ambiguities
from dysconnect.reading.bids.content import absent_content, is_pointer, refuse_unfit, unfit
from dysconnect.reading.bids.folder import Listing, list_folder
from dysconnect.reading.bids.names import ID, PROCESSING, Named, agree, asked_entities, fits, listed, read_name, same
from dysconnect.reading.bids.sidecars import (
    folders_above,
    is_derivative,
    made_by,
    read_object,
    read_sidecars,
    sidecars_of,
)

__all__ = [
    "ID", "PROCESSING", "Ambiguity", "Choice", "Listing", "Named", "absent_content", "agree", "asked_entities",
    "choose", "companion", "fits", "folders_above", "is_derivative", "is_pointer", "list_folder", "listed", "made_by",
    "read_name", "read_object", "read_sidecars", "refuse_ambiguities", "refuse_unfit", "same", "sidecars_of",
    "unfit",
]  # fmt: skip
