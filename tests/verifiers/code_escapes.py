"""Attempts to get out of the sandbox: bodies of a function that returns something true where it got what it must not.

`{canary}` is a file outside that any user may read, `{secret}` its content, `{folder}` a folder outside that any user may write to,
`{port}` and `{abstract}` sockets outside that listen, `{repository}` this repository. `c(name, *args)` calls the C library, `sys_(n, *args)`
makes a system call by number; both return whether it succeeded.
"""

PRELUDE = """
import ctypes, glob, os, resource, signal, socket, stat, struct, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def c(name, *args):
    return getattr(libc, name)(*args) >= 0
def sys_(number, *args):
    return libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in args)) >= 0
def read(path):
    with open(path, "rb") as file:
        return file.read(4096)
def write(path):
    with open(path, "ab") as file:
        return file.write(b"x")
"""

READING = {
    "a file outside": "return read('{canary}')",
    "a file outside by ..": "return read('/tmp/../../../../..{canary}')",
    "a file outside by process 1's root": "return read('/proc/1/root{canary}')",
    "a file outside by its own root": "return read('/proc/self/root{canary}')",
    "a file outside by a symlink": "os.symlink('{canary}', '/tmp/link'); return read('/tmp/link')",
    "a file outside by a hard link": "os.link('{canary}', '/tmp/link'); return True",
    "a file outside from an open root": "d = os.open('/', os.O_RDONLY); return os.open('..{canary}', os.O_RDONLY, dir_fd=d)",
    "a file outside by chroot": "os.chroot('/proc/1/root'); return True",
    "a file outside by inherited descriptors": """
    for fd in range(3, 64):
        try:
            if stat.S_ISDIR(os.fstat(fd).st_mode) or stat.S_ISREG(os.fstat(fd).st_mode):
                return True
        except OSError:
            pass""",
    "the list of users": "return read('/etc/passwd')",
    "shadowed passwords": "return read('/etc/shadow')",
    "homes": "return [p for h in ('/root', '/home') if os.path.isdir(h) for p in os.listdir(h) if p in ('.ssh', '.bashrc', '.profile', '.cache')]",
    "the repository": "return os.listdir('{repository}')",
    "the tests' packages": "import numpy; return True",
    "packages by their folder": "return [p for p in glob.glob(os.path.dirname(os.__file__) + '/*-packages/*')]",
    "variables of the environment": "return '{secret}' in str(dict(os.environ))",
    "process 1's environment": "return b'{secret}' in read('/proc/1/environ')",
    "the parent's environment": "return b'{secret}' in read('/proc/%d/environ' % os.getppid())",
    "environments of all processes": """
    for path in glob.glob('/proc/[0-9]*/environ'):
        try:
            if b'{secret}' in read(path):
                return True
        except OSError:
            pass""",
    "other processes": "return len(glob.glob('/proc/[0-9]*')) > 4",
    "the tests' side": "return any(open(p, 'rb').read().endswith(b'tests\\0') for p in glob.glob('/proc/[0-9]*/cmdline'))",
    "kernel memory": "return read('/dev/mem')",
    "kernel core": "return read('/proc/kcore')",
    "kernel log": "return os.open('/proc/kmsg', os.O_RDONLY | os.O_NONBLOCK)",
    "kernel log by call": "return c('klogctl', 10, None, 0)",
    "disks": "return [p for p in os.listdir('/dev') if p.startswith(('sd', 'vd', 'nvme', 'loop', 'dm-', 'mem'))]",
    "a disk by a node of its own": "os.mknod('/tmp/disk', 0o600 | stat.S_IFBLK, os.makedev(254, 0)); return read('/tmp/disk')",
    "devices of the machine": "return os.listdir('/sys')",
    "a terminal": "return os.open('/dev/tty', os.O_RDWR)",
    "handles of files": "return sys_({name_to_handle_at}, -100, b'/', ctypes.create_string_buffer(200), ctypes.create_string_buffer(8), 0)",
}  # fmt: skip

WRITING = {
    "a folder outside": "return write('{folder}/escaped')",
    "a folder outside by a symlink": "os.symlink('{folder}', '/tmp/out'); return write('/tmp/out/escaped')",
    "the root": "return write('/escaped')",
    "a folder in the root": "os.mkdir('/escaped'); return True",
    "the system": "return write('/usr/lib/escaped')",
    "the interpreter": "return write(sys.executable)",
    "the standard library": "return write(os.__file__)",
    "the interpreter's mode": "os.chmod(sys.executable, 0o777); return True",
    "the linker's cache": "return write('/etc/ld.so.cache')",
    "shared memory": "return write('/dev/shm/escaped')",
    "devices": "return write('/dev/escaped')",
    "variable data": "return write('/var/tmp/escaped')",
    "the handler of core dumps": "return os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)",
    "the loader of modules": "return os.open('/proc/sys/kernel/modprobe', os.O_WRONLY)",
    "the machine's settings": "return os.open('/proc/sys/vm/drop_caches', os.O_WRONLY)",
    "the system request key": "return os.open('/proc/sysrq-trigger', os.O_WRONLY)",
    "process 1's memory": """
    f = os.open('/proc/1/mem', os.O_RDWR); os.close(f)
    return os.geteuid() != os.stat('/proc/1').st_uid""",
    "a set-user-id program": "p = '/tmp/p'; write(p); os.chmod(p, 0o4755); os.chown(p, 0, 0); return True",
    "another user's files": "p = '/tmp/p'; write(p); os.chown(p, 1, 1); return True",
    "its root anew": "return c('mount', None, b'/', None, 32 | 4096, None)",
}  # fmt: skip

NETWORK = {
    "TCP": "return socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "TCP to a listener outside": "return socket.create_connection(('127.0.0.1', {port}), 0.2)",
    "TCP over IPv6": "return socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
    "UDP": "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "raw": "return socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "packets": "return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "netlink": "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "the hypervisor": "return socket.socket(40, socket.SOCK_STREAM)",
    "kernel cryptography": "return socket.socket(38, socket.SOCK_SEQPACKET)",
    "names": "return socket.gethostbyname('localhost.localdomain')",
    "an abstract socket outside": "s = socket.socket(socket.AF_UNIX); s.connect('\\0{abstract}'); return True",
    "a socket file outside": "s = socket.socket(socket.AF_UNIX); s.connect('{folder}/socket'); return True",
    "interfaces": "return [n for _, n in socket.if_nameindex() if n != 'lo']",
    "connections of the machine": "return len(read('/proc/net/tcp').splitlines()) > 1",
}  # fmt: skip

PRIVILEGES = {
    "user 0": "os.setuid(0); return True",
    "effective user 0": "os.seteuid(0); return True",
    "group 0": "os.setgid(0); return True",
    "groups": "os.setgroups([0]); return True",
    "being root": "return os.getuid() == 0 or os.geteuid() == 0",
    "capabilities": "return any(int(l.split()[1], 16) for l in open('/proc/self/status') if l.startswith('Cap'))",
    "new privileges": "return c('prctl', 38, 0, 0, 0, 0)",
    "set-user-id programs": "return glob.glob('/usr/bin/su*') + glob.glob('/usr/bin/*mount') + glob.glob('/usr/bin/passwd')",
    "a user namespace": "return c('unshare', 0x10000000)",
    "a mount namespace": "return c('unshare', 0x00020000)",
    "a namespace by clone": "return sys_({clone}, 0x10000000 | 17, 0, 0, 0, 0)",
    "a namespace by clone3": "return sys_(435, struct.pack('11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88)",
    "process 1's namespaces": "return c('setns', os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)",
    "a mount": "os.mkdir('/tmp/m'); return c('mount', b'none', b'/tmp/m', b'tmpfs', 0, None)",
    "an unmount": "return c('umount2', b'/tmp', 2)",
    "a mount by the new calls": "return sys_(430, b'tmpfs', 0)",
    "more memory": "resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40)); return True",
    "more processes": "resource.setrlimit(resource.RLIMIT_NPROC, (10**5, 10**5)); return True",
    "more time": "resource.setrlimit(resource.RLIMIT_CPU, (10**5, 10**5)); return True",
    "longer files": "resource.setrlimit(resource.RLIMIT_FSIZE, (2**40, 2**40)); return True",
    "core dumps": "resource.setrlimit(resource.RLIMIT_CORE, (2**20, 2**20)); return True",
    "a higher priority": "os.setpriority(os.PRIO_PROCESS, 0, -20); return True",
    "real time": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); return True",
    "the machine's name": "socket.sethostname('escaped'); return True",
    "the clock": "time.clock_settime(time.CLOCK_REALTIME, time.time()); return True",
    "locked memory": "return c('mlockall', 3)",
}  # fmt: skip

KERNEL = {
    "ptrace of the parent": "return c('ptrace', 16, os.getppid(), None, None)",
    "memory of the parent": "b = ctypes.create_string_buffer(8); return sys_({process_vm_readv}, os.getppid(), b, 0, b, 0, 0)",
    "descriptors of the parent": "return sys_({pidfd_getfd}, os.pidfd_open(os.getppid()), 0, 0)",
    "BPF": "return sys_({bpf}, 0, ctypes.create_string_buffer(128), 128)",
    "performance counters": "return sys_({perf_event_open}, ctypes.create_string_buffer(128), 0, -1, -1, 0)",
    "io_uring": "return sys_(425, 1, ctypes.create_string_buffer(128))",
    "userfaultfd": "return sys_({userfaultfd}, 1)",
    "keys": "return sys_({add_key}, b'user', b'k', b'v', 1, -2)",
    "files in memory": "return os.memfd_create('x')",
    "shared memory of System V": "return c('shmget', 0, 4096, 0o1600)",
    "message queues": "return c('msgget', 0, 0o1600)",
    "queues of POSIX": "return sys_({mq_open}, b'/q', 0o102, 0o600, None)",
    "modules": "return sys_({finit_module}, 0, b'', 0)",
    "another kernel": "return sys_({kexec_load}, 0, 0, None, 0)",
    "execution domains": "return c('personality', 0x0040000)",
    "the terminal's input": "import fcntl; fcntl.ioctl(2, 0x5412, b'x'); return True",
    "swap": "return c('swapon', b'/tmp', 0)",
    "accounting": "return c('acct', b'/tmp/a')",
}  # fmt: skip

X86_64 = {
    "calls of the x32 kind": "return sys_(0x40000000 + 39)",
    "calls of 32 bits": """
    import mmap
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')  # mov eax, 20 (getpid); int 0x80; ret
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() > 0""",
    "ports": "return c('iopl', 3)",
    "segments": "return sys_(154, 0, ctypes.create_string_buffer(16), 16)",
}

NUMBERS = {
    "x86_64": {"name_to_handle_at": 303, "clone": 56, "process_vm_readv": 310, "pidfd_getfd": 438, "bpf": 321, "perf_event_open": 298,
               "userfaultfd": 323, "add_key": 248, "mq_open": 240, "finit_module": 313, "kexec_load": 246},
    "aarch64": {"name_to_handle_at": 264, "clone": 220, "process_vm_readv": 270, "pidfd_getfd": 438, "bpf": 280, "perf_event_open": 241,
                "userfaultfd": 282, "add_key": 217, "mq_open": 180, "finit_module": 273, "kexec_load": 104},
}  # fmt: skip

