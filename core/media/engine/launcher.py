"""Start a program with limits and without a network: a program of its own.

It changes itself as far as the arguments demand and becomes the program, so the child has its
process id. It imports nothing of this service. Arguments: the limits as JSON, the program and its
arguments.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Final, cast

FAILED: Final = 97
"""Exit code if the child could not be limited; the program has not run."""
NICE: Final = 10
CPU_GRACE_SECONDS: Final = 5
_NEW_USER_NAMESPACE: Final = 0x10000000
_NEW_NETWORK_NAMESPACE: Final = 0x40000000
_PARENT_DEATH_SIGNAL: Final = 1
_SECCOMP: Final = 22
_SECCOMP_FILTER: Final = 2
_NO_NEW_PRIVILEGES: Final = 38

# Classic BPF over the number of a system call and the processor that it is for.
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_FROM: Final = 0x35
_RETURN: Final = 0x06
_ALLOWED: Final = 0x7FFF0000
_REFUSED: Final = 0x00050000 | errno.EPERM
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_IO_URING_SETUP: Final = 425
_OTHER_NUMBERS: Final = 0x40000000
"""From here on, x86-64 has all system calls a second time."""
_SOCKET: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""The kernel's name for each processor and the number of `socket`."""


def isolate(layer: str) -> None:
    """Take the network from this process. layer: `user`, `network`, `calls` or `none`.

    The first two move it into an empty network. `user` needs no privilege: a namespace of users, in
    which the process keeps its user and owns the network. `calls` refuses the system call that
    opens a socket; containers allow it that forbid namespaces. Raises OSError where the machine
    forbids the layer.
    """
    if layer == "none":
        return
    if layer == "calls":
        refuse_sockets()
        return
    user, group = os.geteuid(), os.getegid()
    flags = _NEW_NETWORK_NAMESPACE | (_NEW_USER_NAMESPACE if layer == "user" else 0)
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if layer == "user":
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


def refuse_sockets() -> None:
    """Let the kernel refuse new sockets, also those of io_uring, to this process for good."""
    if os.uname().machine not in _SOCKET:
        raise OSError(errno.ENOSYS, "seccomp")
    architecture, socket = _SOCKET[os.uname().machine]
    steps = (
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 0, 4, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_FROM, 2, 0, _OTHER_NUMBERS),
        (_JUMP_EQUAL, 1, 0, socket),
        (_JUMP_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, _REFUSED),
        (_RETURN, 0, 0, _ALLOWED),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if library.prctl(_SECCOMP, _SECCOMP_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def end_with(parent: int) -> None:
    """Kill this process when the worker's process ends, however it ends."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        library.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        raise OSError("the worker has ended")


def limit(limits: dict[str, int]) -> None:
    """Apply each limit, or what this process already has if that is lower.

    A process at its soft limit of processor time gets SIGXCPU, which shows why it ended; at the
    hard limit it gets SIGKILL, as from any other side.
    """
    for name, value in limits.items():
        number = cast("int", getattr(resource, name))
        _, most = resource.getrlimit(number)
        hard = value + (CPU_GRACE_SECONDS if number == resource.RLIMIT_CPU else 0)
        hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(number, (min(value, hard), hard))


def main() -> None:
    """Become the program, or exit with FAILED."""
    try:
        order = json.loads(sys.argv[1])
        isolate(order["isolation"])
        end_with(order["parent"])
        limit(order["limits"])
        # Python ignores this signal, and a program inherits that.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, own))
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"launcher: {error}\n")
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
