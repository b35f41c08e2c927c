"""What is taken out of series, as one projection, and what no denoising can mend."""
