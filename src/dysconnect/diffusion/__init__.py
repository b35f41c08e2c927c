"""From diffusion scans to connections: cleaning, the diffusion tensor, streamlines, and what lies between regions."""
