"""Makes the C library return freed memory to the system, so that the service's memory does not stay at its peak."""

import ctypes

# By default glibc raises both limits to 32 and 64 MB when it frees a large block, and then keeps what is freed, once
# for every thread. Smaller limits than 4 MB would cost the product encoder a quarter of its time.
RETURNED_BLOCK_BYTES = 2**22
MAX_HEAPS = 2
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # parameters of mallopt


def return_freed_memory() -> bool:
    """Let the allocator return large blocks at once; False if the C library is not glibc, which is then unchanged."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    limits = {_MMAP_THRESHOLD: RETURNED_BLOCK_BYTES, _TRIM_THRESHOLD: RETURNED_BLOCK_BYTES, _ARENA_MAX: MAX_HEAPS}
    return all(mallopt(parameter, value) for parameter, value in limits.items())
