"""The system calls that a sandboxed program is refused, as the BPF program that the kernel runs (seccomp(2), bpf in <linux/filter.h>).

A list of what is refused, not of what is allowed: interpreters and C libraries of the next years may use calls that nobody lists
today. Refused is what reaches another process, makes namespaces or mounts, allocates memory past the limits, opens a network, loads
code into the kernel, or has often been a way into it.
"""

from __future__ import annotations

import errno
import platform
import struct

__all__ = ["seccomp_program"]

# AUDIT_ARCH_* of <linux/audit.h>
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86-64, aarch64); None where the architecture lacks it
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272), "pidfd_getfd": (438, 438),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "move_mount": (429, 429), "open_tree": (428, 428), "mount_setattr": (442, 442), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    # memory that belongs to no process, so that no limit counts it
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # doors to the kernel
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "modify_ldt": (154, None), "uselib": (134, None), "lookup_dcookie": (212, 18), "personality": (135, 92),
    "move_pages": (279, 239), "migrate_pages": (256, 238), "mbind": (237, 235), "set_mempolicy": (238, 237), "vhangup": (153, 58),
    # the machine's own state
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None), "sync": (162, 81),
}  # fmt: skip

_CLONE, _CLONE3, _SOCKET, _IOCTL = (56, 220), 435, (41, 198), (16, 29)
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}
_AF_UNIX, _TIOCSTI = 1, 0x5412
_X32 = 0x40000000  # calls of the x32 ABI have this bit and other numbers

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


def seccomp_program(machine: str | None = None) -> bytes | None:
    """The filter for `bwrap --seccomp`: struct sock_filter [n], or None where the architecture has no table here.

    Args:
        machine: as `platform.machine()` names it; None: this machine.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        return None
    column = list(_ARCHITECTURES).index(machine)
    code: list[bytes] = []

    def emit(operation: int, operand: int, if_true: int = 0, if_false: int = 0) -> None:
        code.append(struct.pack("=HBBI", operation, if_true, if_false, operand))

    def refuse(error: int) -> None:
        emit(_RETURN, _ERROR | error)

    emit(_LOAD, _ARCHITECTURE)
    emit(_JUMP_EQUAL, _ARCHITECTURES[machine], 1, 0)
    emit(_RETURN, _KILL_PROCESS)
    emit(_LOAD, _NUMBER)
    if machine == "x86_64":
        emit(_JUMP_AT_LEAST, _X32, 0, 1)
        refuse(errno.EPERM)
    for numbers in _REFUSED.values():
        if numbers[column] is not None:
            emit(_JUMP_EQUAL, numbers[column] or 0, 0, 1)
            refuse(errno.EPERM)
    # its flags lie in memory, out of a filter's sight; on ENOSYS the C library takes clone
    emit(_JUMP_EQUAL, _CLONE3, 0, 1)
    refuse(errno.ENOSYS)
    # each of these three leaves the program, since it loads an argument over the number
    emit(_JUMP_EQUAL, _CLONE[column], 0, 4)
    emit(_LOAD, _ARGUMENTS)
    emit(_JUMP_ANY_BIT, _NEW_NAMESPACES, 0, 1)
    refuse(errno.EPERM)
    emit(_RETURN, _ALLOW)
    emit(_JUMP_EQUAL, _SOCKET[column], 0, 4)
    emit(_LOAD, _ARGUMENTS)
    emit(_JUMP_EQUAL, _AF_UNIX, 1, 0)
    refuse(errno.EAFNOSUPPORT)
    emit(_RETURN, _ALLOW)
    emit(_JUMP_EQUAL, _IOCTL[column], 0, 4)
    emit(_LOAD, _ARGUMENTS + 8)
    emit(_JUMP_EQUAL, _TIOCSTI, 0, 1)
    refuse(errno.EPERM)
    emit(_RETURN, _ALLOW)
    emit(_RETURN, _ALLOW)
    return b"".join(code)
