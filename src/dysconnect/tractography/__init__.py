"""Stage `tractography`: from a person's diffusion scan to connections between the regions of the atlas."""
