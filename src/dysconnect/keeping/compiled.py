"""Loops compiled by numba, which are kept for the next process."""

from numba import njit


def compiled(function):
    """Compile, and keep it for the next process where there is a place for that.

    numba keeps it beside the function's file, else in the home folder, or in NUMBA_CACHE_DIR; it raises where it can
    write none. Division by zero is numpy's: a loop that may raise is not made of vector instructions.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(**options)(function)
