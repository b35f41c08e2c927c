"""From diffusion scans to connections: what cleans them, the tensor, streamlines and what lies between regions."""
