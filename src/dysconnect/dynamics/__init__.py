"""Connectivity in time: which region leads which, and how much a connection varies beyond chance."""
