"""glibc gives large blocks back to the kernel at every free; a training step takes the same ones again and again."""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024  # glibc refuses more (HEAP_MAX_SIZE / 2 on 64 bit)


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next step instead of returning it page by page.

    Blocks up to 32 MiB then come from the heap, and the heap does not shrink. It costs resident memory: the process stays
    as large as its largest step. Elsewhere than on Linux with glibc nothing happens.

    Returns:
        Whether the thresholds were set.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    trim = mallopt(ctypes.c_int(_TRIM_THRESHOLD), ctypes.c_int(2**31 - 1))
    return bool(trim and mallopt(ctypes.c_int(_MMAP_THRESHOLD), ctypes.c_int(_LARGEST_MMAP_THRESHOLD)))
