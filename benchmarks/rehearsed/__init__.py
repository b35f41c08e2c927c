"""What `benchmarks/rehearsal.py` is made of: the people, their server, and a watch over the processes of a run."""
