"""Runs processes and says what they cost. A side is one process with all that it forks and waits for."""
import os
import re
import signal
import socket
import subprocess
import tempfile

LIMIT_S = 900


class Side:
    """A process whose time and memory GNU time takes from the kernel at its end. Waiting for it here would not do: a
    child of Python is charged with Python's own peak memory, because it starts as a copy of it."""

    def __init__(self, argv, **popen):
        self.argv = [str(a) for a in argv]
        self.costs = tempfile.NamedTemporaryFile(mode="r", prefix="costs.")
        self.process = subprocess.Popen(["/usr/bin/time", "-q", "-f", "%U %S %M", "-o", self.costs.name, *self.argv], **popen)
        self.cpu_s = self.rss_mib = 0.0

    def wait(self, expect=(0,)):
        try:
            status = self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill(signal.SIGKILL)
            raise RuntimeError(f"{' '.join(self.argv)} did not end within {LIMIT_S} s") from None
        if status not in expect:
            raise RuntimeError(f"{' '.join(self.argv)} ended with {status}")
        user, system, kib = self.costs.read().split()
        self.cpu_s, self.rss_mib = float(user) + float(system), int(kib) / 1024
        return self

    def kill(self, number):
        """Signals the program itself; `time` stays to write down what it cost."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
            for pid in children.read().split():
                os.kill(int(pid), number)


def settle(path):
    """Writes back what earlier runs left, so that none pays for another's dirty pages."""
    subprocess.run(["sync", "-f", path], check=True)


def warm(path):
    """Reads a tree into the page cache: every tool then reads from memory, and the target's disk is what differs."""
    buffer = bytearray(1 << 20)
    for top, _, names in os.walk(path):
        for name in names:
            file = os.path.join(top, name)
            if os.path.isfile(file) and not os.path.islink(file):
                with open(file, "rb", buffering=0) as source:
                    while source.readinto(buffer):
                        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def machine(path):
    """One line per fact that a reader needs to compare with a machine of their own."""
    cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read())
    memory = int(re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read())[1]) / (1 << 20)
    df = subprocess.run(["df", "--output=fstype", path], capture_output=True, text=True, check=True).stdout
    return {
        "cores": f"{len(os.sched_getaffinity(0))} ({cpu[1].strip() if cpu else os.uname().machine})",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{os.uname().sysname} {os.uname().release}",
        "file system": df.split()[-1],
        "load average before": "%.1f" % os.getloadavg()[0],
    }
