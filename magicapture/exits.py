"""Exit status of the command line, and what is said of an error.

=====  ==========================================================================================================
0      done
1      looked, and the answer is no: doctor misses something needed, a file is altered, a version is not promoted
2      cannot be done as asked: wrong usage, an input or knob that cannot be used, a full disk; the message says what to do
3      done in part: check found too few pictures that will do, purge left something
70     a fault of MagiCapture: traceback
130    stopped by Ctrl-C
=====  ==========================================================================================================
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

UNUSABLE, FAULT, STOPPED = 2, 70, 130

_FULL = "free some space or give another folder; nothing half-written is left, and the same command goes on from the last checkpoint"
_CLOSED = "give a folder that may be written to"
_BARRED = "give another path, or change its permissions"
_TAKEN = "something of another kind is at that path; give another path"
_DISK = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "the limit on the size of files is too low here (ulimit -f); nothing half-written is left",
    errno.EROFS: _CLOSED,
    errno.EACCES: _BARRED,
    errno.EPERM: _BARRED,
    errno.EEXIST: _TAKEN,
    errno.ENOTDIR: _TAKEN,
    errno.EISDIR: _TAKEN,
    errno.ENAMETOOLONG: "give a shorter path",
}
#: These come of reading as well as of writing.
_EITHER = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


@contextmanager
def stoppable(then: str) -> Iterator[None]:
    """Ctrl-C inside: says what then, and exits with :data:`STOPPED`."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped. {then}\n")
        sys.exit(STOPPED)


def status(error: Exception) -> int:
    """Say on stderr what is wrong; the exit status that goes with it."""
    message = explain(error)
    if message is None:
        traceback.print_exception(error)
        return FAULT
    sys.stderr.write(f"magicapture: {message}\n")
    return UNUSABLE


def explain(error: Exception) -> str | None:
    """One line for a person who can do something about the error; None for a fault of the program."""
    if isinstance(error, OSError) and error.errno in _DISK:
        place = error.filename2 or error.filename
        what = "cannot read or write" if error.errno in _EITHER else "cannot write"
        return f"{what}{f' {place}' if place else ''}: {error.strerror}; {_DISK[error.errno]}"
    ours = type(error).__module__.startswith("magicapture.")
    return str(error) if ours or (isinstance(error, ValueError) and _raised_here(error)) else None


def _raised_here(error: Exception) -> bool:
    """Whether a line of MagiCapture raised it, and no library that was called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).startswith("magicapture.")
