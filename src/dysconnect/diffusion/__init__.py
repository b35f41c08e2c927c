"""From diffusion scans to connections: what cleans them, the diffusion tensor, streamlines and what lies between regions."""
