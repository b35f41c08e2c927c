"""Truths of our own making: simulated people, and differences planted in real ones."""
