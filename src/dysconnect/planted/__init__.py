"""Truths that we make: simulated people, and differences planted in real ones."""
