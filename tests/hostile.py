"""Text that was made to be slow: a megabyte of it takes seconds where work is linear, minutes where it is quadratic."""

import gc
import time
from collections.abc import Callable

ALLOWED_SECONDS = 20  # of this thread, for 1 MB, on a machine of any age


def ends_soon(work: Callable[[], object]) -> bool:
    """Whether the work took linear time: a bound so wide that it is no measure of speed, only of its order.

    Other threads and the collection of other tests' objects do not count.
    """
    gc.collect()
    gc.disable()
    try:
        begin = time.thread_time()
        work()
        return time.thread_time() - begin < ALLOWED_SECONDS
    finally:
        gc.enable()
