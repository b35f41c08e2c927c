"""What a run will do: its configuration, what must fit together, and what follows for the rules; without Snakemake."""
