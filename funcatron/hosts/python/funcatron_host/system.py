"""What the host asks of the kernel and of the interpreter: its name in `ps`, an exception in another thread."""

from __future__ import annotations

import os


def set_title(title: str) -> str:
    """Make `ps` show `title` for this process; return what failed, or "".

    The kernel shows the memory between arg_start and arg_end (proc(5)), which a process may overwrite.
    """
    try:
        with open("/proc/self/stat", "rb") as file:
            stat = file.read()
        fields = stat[stat.rindex(b")") + 2 :].split()
        start, end = int(fields[45]), int(fields[46])
        room = end - start
        data = title.encode()[: room - 1].ljust(room, b"\0")
        memory = os.open("/proc/self/mem", os.O_WRONLY)
        try:
            os.pwrite(memory, data, start)
        finally:
            os.close(memory)
    except (OSError, ValueError, IndexError) as err:
        return f"the process title cannot be set: {err}"
    return ""


def raise_in_thread(ident: int, kind: type) -> bool:
    """Raise `kind` in another thread at its next bytecode; False when that cannot be done."""
    try:
        import ctypes
    except ImportError:
        return False
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(kind)))


def forget_raised(ident: int) -> None:
    """Take back an exception that `raise_in_thread` has set and that has not come up yet."""
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None)
