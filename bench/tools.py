"""The tools that are compared. Each copies SRC to DST, over loopback or locally, and says what it cost."""
import json
import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

from measure import LIMIT_S, Side, free_port, settle


@dataclass
class Run:
    """One copy: seconds until the tool says it is done, seconds until that is on the disk, and the price."""

    wall_s: float
    durable_s: float
    cpu_s: float
    rss_mib: float
    sent_bytes: int | None = None
    wire_bytes: int | None = None


def timed(dst, action):
    """Times `action`, which returns its sides and what it sent. rsync and tar leave dirty pages behind; the second
    time includes writing them."""
    start = time.monotonic()
    sides, sent, wire = action()
    wall = time.monotonic() - start
    settle(dst)
    durable = time.monotonic() - start
    return Run(wall, durable, sum(s.cpu_s for s in sides), max(s.rss_mib for s in sides), sent, wire)


class Badger:
    """`badger copy` as daemons use the engine: TLS, hashed, read back and verified on the target."""

    def __init__(self, binary, loopback=True):
        self.binary, self.loopback = binary, loopback
        self.name = "badger copy, loopback" if loopback else "badger copy, local"

    def copy(self, src, dst):
        return timed(os.path.dirname(dst), lambda: self._loopback(src, dst) if self.loopback else self._local(src, dst))

    def _local(self, src, dst):
        side = Side([self.binary, "copy", "--json", src, dst], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self._result([side], side.process.stdout)

    def _loopback(self, src, dst):
        receiver = Side([self.binary, "copy", "--listen", "127.0.0.1:0", dst], stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL, text=True)
        url = receiver.process.stdout.readline().strip()
        sender = Side([self.binary, "copy", "--json", src, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self._result([sender, receiver], sender.process.stdout)

    @staticmethod
    def _result(sides, stdout):
        lines = stdout.read().strip().splitlines()
        for side in sides:
            side.wait()
        result = json.loads(lines[-1])
        if not result["root"]:
            raise RuntimeError("badger copy reported no tree root")
        return sides, result.get("bytes_blocks", result["blocks_sent"] * 4096), result["bytes_wire"]


class Rsync:
    """rsync, locally or to a plain daemon on loopback: no encryption, no verification."""

    def __init__(self, daemon, options=("-a",)):
        self.daemon, self.options = daemon, list(options)
        self.name = f"rsync {' '.join(options)}, {'daemon on loopback' if daemon else 'local'}"

    def copy(self, src, dst):
        os.makedirs(dst, exist_ok=True)
        return timed(dst, lambda: self._daemon(src, dst) if self.daemon else self._send(src, dst + "/", []))

    def _send(self, src, to, others):
        side = Side(["rsync", *self.options, "--delete", "--stats", src + "/", to], stdout=subprocess.PIPE, text=True)
        stats = side.process.stdout.read()
        side.wait()
        number = lambda label: int(re.search(label + r": ([\d,.]+)", stats)[1].replace(",", "").replace(".", ""))
        return [side, *others], number("Literal data"), number("Total bytes sent")

    def _daemon(self, src, dst):
        port, conf = free_port(), dst + ".rsyncd.conf"
        with open(conf, "w") as file:
            file.write(f"use chroot = {'yes' if os.getuid() == 0 else 'no'}\nreverse lookup = no\nmunge symlinks = no\nport = {port}\naddress = 127.0.0.1\n"
                       f"uid = {os.getuid()}\ngid = {os.getgid()}\n[dst]\npath = {dst}\nread only = no\n")
        daemon = Side(["rsync", "--daemon", "--no-detach", "--config", conf])
        try:
            wait_port(port)
            return self._send(src, f"rsync://127.0.0.1:{port}/dst/", [daemon])
        finally:
            # Its children's time counts into its own once it has waited for them, and it ends only by a signal.
            daemon.kill(signal.SIGTERM)
            daemon.wait(expect=(0, 20, 128 + signal.SIGTERM))
            os.unlink(conf)


class Tar:
    """tar | tar with a TCP connection in between, each end writing to its socket directly."""

    name = "tar \\| tar, loopback"

    def copy(self, src, dst):
        os.makedirs(dst, exist_ok=True)
        return timed(dst, lambda: self._pipe(src, dst))

    @staticmethod
    def _pipe(src, dst):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            out = socket.create_connection(listener.getsockname())
            into, _ = listener.accept()
        with out, into:
            sender = Side(["tar", "-C", src, "--sparse", "--format=posix", "-cf", "-", "."], stdout=out.fileno())
            receiver = Side(["tar", "-C", dst, "-xpf", "-"], stdin=into.fileno())
        return [sender.wait(), receiver.wait()], None, None


def wait_port(port):
    end = time.monotonic() + min(LIMIT_S, 10)
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"nothing listens on port {port}")
