"""Run a program and end whatever it started: a process of its own, which imports nothing of the harness.

`python supervise.py CONTROL STATUS MEMORY ISOLATE PROGRAM ARGUMENT ...` runs the program, in at most MEMORY bytes where
that is not 0, and with ISOLATE 1 without the rights that other processes' memory takes. Where the system has child
subreapers, as Linux has, its orphans, daemons that have left its session included, become children of this process.
Once CONTROL reaches its end, because the harness has closed it or is gone, all of them are killed. To STATUS it writes
whether the program could be started, and how it ended if it did so by itself.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
CAPABILITY_VERSION = 0x20080522  # of the structs below
REACHING = (16, 17, 19, 21, 24, 38, 39, 40)
"""Capabilities of root by which a process gets at others, the kernel or its own limits: SYS_MODULE, SYS_RAWIO,
SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE, PERFMON, BPF, CHECKPOINT_RESTORE."""
ROUNDS, PAUSE = 500, 0.01  # of killing, for as long as something new is found; seconds between two


def main(control: int, status: int, memory: int, isolate: bool, words: list[str]) -> None:
    """Run a program until it has ended with all it started, or until it is told to end them."""
    for own in (control, status):
        os.set_inheritable(own, False)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *ignored: None)
    try:
        restrict(memory, isolate)  # this process too, which needs less than any program may have
        # It inherits its three pipes, and nothing else that belongs to this process.
        program = os.posix_spawnp(words[0], words, os.environ, setsigdef=[signal.SIGPIPE])
    except OSError as error:
        os.write(status, f"failed {error.strerror or error}\n".encode())
        return
    os.write(status, b"started\n")
    for stream in (0, 1, 2):  # so that an end of the program's output is one
        os.close(stream)
    while select.select([control, woken], [], [])[0] != [control]:
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 4096)
        if not reap(program, status):
            return
    kill_all(program)


def restrict(memory: int, isolate: bool) -> None:
    """Take from this process, and from all that it will start, what it is not to have; for good.

    Parameters
    ----------
    memory : int
        Bytes of address space that each of them may have; 0 for as many as it likes.
    isolate : bool
        Whether other processes' memory is closed to them, root's rights to it included.

    Raises
    ------
    OSError
        The system does not do it.
    """
    if memory:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        except ValueError as error:
            raise OSError(0, f"its memory cannot be limited: {error}") from None
    if memory or isolate:
        # Root could raise the limit again, and read any process. A program that it starts gets nothing back either.
        libc = ctypes.CDLL(None, use_errno=True)
        head, sets = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
        done = libc.capget(head, sets) == 0
        for capability in REACHING:
            for kind in range(3):  # effective, permitted, inheritable
                sets[3 * (capability // 32) + kind] &= ~(1 << capability % 32)
        done = done and libc.capset(head, sets) == 0 and libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        if not done:
            raise OSError(ctypes.get_errno(), f"its rights cannot be given up: {os.strerror(ctypes.get_errno())}")


def own_memory() -> int:
    """Return how many bytes of address space this process has."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")


def reap(program: int, status: int | None = None) -> bool:
    """Collect whoever has ended, and say to `status` how the program itself did; return whether anybody is left."""
    while True:
        try:
            pid, state = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        if pid == program and status is not None:
            os.write(status, f"ended {os.waitstatus_to_exitcode(state)}\n".encode())


def kill_all(program: int) -> None:
    """Kill all descendants; whoever is started meanwhile is among those of the next round."""
    for _ in range(ROUNDS):
        if not reap(program):
            return
        for pid in descendants() or [program]:  # the program alone where the system lists no parents
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        select.select([], [], [], PAUSE)


def descendants() -> list[int]:
    """Return the processes that this one, or one of them, is the parent of, as the system lists them."""
    parents = {}
    for name in filter(str.isdecimal, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
            # The name of the program stands in brackets, and may hold any.
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found, ours = [], {os.getpid()}
    while ours:
        ours = {pid for pid, parent in parents.items() if parent in ours}
        found += sorted(ours)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1", sys.argv[5:])
