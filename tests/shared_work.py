"""Work for the tests of worker processes, in a module that a worker can import by its name."""

import os
import re
import time
from pathlib import Path

from anthem_core.opensearch.versions import UnsupportedClusterError


def square(number):
    """Work that succeeds."""
    return number * number, os.getpid()


def fail(error, number):
    """Work that fails at one number."""
    if number == 3:
        raise error
    return number


def refuse_release(_):
    """Work that meets an old cluster."""
    raise UnsupportedClusterError("OpenSearch 1.3")


def read_blocked_signals(_):
    """Work that reads the blocked signals of its process, as bits."""
    return int(re.search(r"^SigBlk:\s+(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1], 16)


def end(code, number):
    """Work that ends its process, if asked to."""
    if number == 2:
        os._exit(code)
    time.sleep(0.01)
