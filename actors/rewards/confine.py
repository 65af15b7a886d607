"""What a process that reads untrusted text may do: compute, read files, and write what is open.

`confine` puts two fences around the calling process that cannot be taken down again: limits of the
operating system (CPU, memory, file size, processes), and a seccomp filter that refuses every system
call but those listed here. There is no network, no process, no thread, no program to start, no file
to write, rename or delete, no signal to another process. It needs no privileges, only Linux on
x86-64 or arm64, and imports nothing outside the standard library.
"""

import ctypes
import os
import platform
import resource
import struct
import sys

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column in ALLOWED and audit number of the machines whose system calls are known here."""
ALLOWED = {
    **dict(read=(0, 63), write=(1, 64), close=(3, 57), lseek=(8, 62), pread64=(17, 67)),
    **dict(readv=(19, 65), writev=(20, 66), dup=(32, 23), dup3=(292, 24), pipe2=(293, 59)),
    **dict(fstat=(5, 80), newfstatat=(262, 79), statx=(332, 291), getdents64=(217, 61)),
    **dict(getcwd=(79, 17), readlinkat=(267, 78), faccessat=(269, 48), faccessat2=(439, 439)),
    **dict(mmap=(9, 222), mprotect=(10, 226), munmap=(11, 215), mremap=(25, 216)),
    **dict(madvise=(28, 233), brk=(12, 214), membarrier=(324, 283), futex=(202, 98)),
    **dict(rt_sigaction=(13, 134), rt_sigprocmask=(14, 135), rt_sigreturn=(15, 139)),
    **dict(sigaltstack=(131, 132), restart_syscall=(219, 128), rseq=(334, 293)),
    **dict(set_robust_list=(273, 99), pselect6=(270, 72), ppoll=(271, 73), getitimer=(36, 102)),
    **dict(setitimer=(38, 103), nanosleep=(35, 101), clock_nanosleep=(230, 115)),
    **dict(clock_gettime=(228, 113), clock_getres=(229, 114), gettimeofday=(96, 169)),
    **dict(times=(100, 153), getrusage=(98, 165), sysinfo=(99, 179), uname=(63, 160)),
    **dict(sched_yield=(24, 124), sched_getaffinity=(204, 123), getrandom=(318, 278)),
    **dict(getpid=(39, 172), gettid=(186, 178), getppid=(110, 173), getuid=(102, 174)),
    **dict(geteuid=(107, 175), getgid=(104, 176), getegid=(108, 177)),
    **dict(exit=(60, 93), exit_group=(231, 94)),
}
ALLOWED_X86_64 = (4, 6, 7, 21, 22, 23, 33, 37, 78, 89, 158, 201)
"""Older forms: stat, lstat, poll, access, pipe, select, dup2, alarm, getdents, readlink,
arch_prctl, time."""
OPENAT, OPEN = {"x86_64": 257, "aarch64": 56}, {"x86_64": 2}
FCNTL = {"x86_64": 72, "aarch64": 25}
HARMLESS_FCNTL = (0, 1, 2, 3, 4, 1030)  # duplicate, flags of a descriptor and of its file
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # classic BPF
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 13, 0x80000000  # 13: EACCES
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


def supported() -> bool:
    return sys.platform == "linux" and platform.machine() in MACHINES


def confine(cpu_s: int, memory_bytes: int) -> None:
    """For the rest of this process's life; raises OSError where it cannot be done."""
    if not supported():
        raise OSError(f"no system call filter for {sys.platform} on {platform.machine()}")
    for limit, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    program = _filter(platform.machine())
    buffer = ctypes.create_string_buffer(b"".join(program))
    # struct sock_fprog: a count, and at the next pointer's boundary the instructions
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), _address(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(_SET_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), zero, zero, zero) or libc.prctl(
        _SET_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.c_ulong(_address(header)), zero, zero
    ):
        raise OSError(ctypes.get_errno(), "the system call filter was refused")


def _address(buffer: ctypes.Array) -> int:
    return ctypes.addressof(buffer)


def _filter(machine: str) -> list[bytes]:
    """The instructions: the machine, then calls with a condition, then those always allowed."""
    column, audit = MACHINES[machine]
    old = ALLOWED_X86_64 if machine == "x86_64" else ()
    numbers = [row[column] for name, row in ALLOWED.items()] + list(old)
    program = [
        _instruction(_LOAD, _MACHINE_AT),
        _instruction(_EQUAL, audit, jump_true=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_AT),
    ]
    program += _if_no_bit(OPENAT[machine], argument=2, bits=WRITING)
    if machine in OPEN:
        program += _if_no_bit(OPEN[machine], argument=1, bits=WRITING)
    program += _if_one_of(FCNTL[machine], argument=1, values=HARMLESS_FCNTL)
    for number in numbers:
        program += [_instruction(_EQUAL, number, jump_false=1), _instruction(_RETURN, _ALLOW)]
    return [*program, _instruction(_RETURN, _REFUSE)]


def _if_no_bit(number: int, argument: int, bits: int) -> list[bytes]:
    """Allow this call where the argument has none of the bits, else refuse it."""
    return [
        _instruction(_EQUAL, number, jump_false=4),
        _instruction(_LOAD, _ARGUMENTS_AT + 8 * argument),
        _instruction(_ANY_BIT, bits, jump_false=1),
        _instruction(_RETURN, _REFUSE),
        _instruction(_RETURN, _ALLOW),
    ]


def _if_one_of(number: int, argument: int, values: tuple[int, ...]) -> list[bytes]:
    checks = []
    for value in values:
        checks += [_instruction(_EQUAL, value, jump_false=1), _instruction(_RETURN, _ALLOW)]
    return [
        _instruction(_EQUAL, number, jump_false=len(checks) + 2),
        _instruction(_LOAD, _ARGUMENTS_AT + 8 * argument),
        *checks,
        _instruction(_RETURN, _REFUSE),
    ]


def _instruction(code: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    """One classic BPF instruction; jumps count the instructions that are left out."""
    return struct.pack("HBBI", code, jump_true, jump_false, value)
