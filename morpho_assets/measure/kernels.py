"""How every kernel of this room is compiled.

Kernels take plain arrays, hold no lock (workers are processes or threads, never loops inside a kernel), and are
cached on disk, so that only the first process on a machine compiles. `sums` may reorder floating-point additions,
which lets reductions use vector registers; NaN keeps its meaning in both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")
sums: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


def is_compiled(function: Any) -> bool:
    """Whether this machine has a kernel compiled on disk: else its first call waits for that."""
    return any(Path(function.stats.cache_path).glob(f"*.{function.py_func.__name__}-*.nbi"))
