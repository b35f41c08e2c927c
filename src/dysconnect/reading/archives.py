"""Archives of others: what Python raises where a zip, or an ``.npz``, is damaged or packed in a way it cannot undo."""

import lzma
import zipfile
import zlib

# RuntimeError: a password, or a way of packing that is not known
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, UnicodeError)
