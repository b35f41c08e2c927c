"""How many threads a loop may take whose turns keep one thread busy each."""

from threadpoolctl import threadpool_info


def blas_threads() -> int:
    """Threads that BLAS may use."""
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
