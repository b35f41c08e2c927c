"""Images as they lie on disk: volumes, grayordinates, spaces, receipts, and the averages of their regions."""
