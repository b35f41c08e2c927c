"""What is kept: files written whole, sealed, movable, and the code, settings and address that belong to them."""
