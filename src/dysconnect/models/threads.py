"""How many threads a loop may take whose turns keep one thread busy each."""

import sys
from functools import lru_cache

from threadpoolctl import ThreadpoolController


def blas_threads() -> int:
    """Threads that BLAS may use."""
    return max((pool["num_threads"] for pool in _controller().info() if pool["user_api"] == "blas"), default=1)


def one_blas_thread():
    """Context in which BLAS takes one thread: as `threadpool_limits`, which looks through all libraries every time."""
    return _controller().limit(limits=1, user_api="blas")


def _controller() -> ThreadpoolController:
    return _seen(len(sys.modules))


@lru_cache(maxsize=1)
def _seen(n_modules: int) -> ThreadpoolController:  # a module that was loaded since may have brought a BLAS of its own
    return ThreadpoolController()
