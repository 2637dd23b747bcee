#!/usr/bin/env python3
"""Ourselves beside rsync and tar, in one run on one machine; writes bench/RESULTS.md.

    run.py --badger target/release/badger [--quick] [--work DIR] [--only cold,second,freeze]

Cold copy of a 1 GiB world; a second pass after 1 % of its chunks changed; the freeze of a migration at 1 GiB and 4 GiB.
Medians of five. Every copy is compared with its source by treediff.py, and what a tool did not carry is in the table:
a tool that does less work must not look faster for it. Nothing is sent anywhere but to 127.0.0.1. Python's standard
library only; --quick uses small worlds and two repetitions, for a look, and does not touch RESULTS.md.
"""
import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from statistics import median

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from measure import LIMIT_S, machine, settle, warm  # noqa: E402
from tools import Badger, Rsync, Tar  # noqa: E402

MIB = 1 << 20


def worldgen(*args):
    argv = [sys.executable, f"{HERE}/worldgen.py", *args]
    return json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)


def treediff(a, b):
    """(differences by kind, bytes of 4 KiB blocks of b that a has not)."""
    out = subprocess.run([sys.executable, f"{HERE}/treediff.py", a, b], capture_output=True, text=True)
    counts = json.loads(out.stdout.splitlines()[0])
    return {k: v for k, v in counts.items() if k not in ("files", "bytes", "block_bytes", "changed_files")}, counts.get("block_bytes", 0)


def checked(tool, src, dst, run):
    """The run, with what differs between the trees; content that differs fails the benchmark."""
    lost, _ = treediff(src, dst)
    if {"content", "missing", "type", "size"} & set(lost):
        raise RuntimeError(f"{tool.name}: the copy is wrong: {lost}")
    return run, lost


def rotated(tools, turn):
    """Each repetition begins with another tool, so that none always follows the same one."""
    return tools[turn % len(tools):] + tools[:turn % len(tools)]


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def cold(tools, world, work, repeats):
    runs = {tool.name: [] for tool in tools}
    for turn in range(repeats):
        for tool in rotated(tools, turn):
            dst = f"{work}/cold"
            shutil.rmtree(dst, ignore_errors=True)
            settle(work)
            runs[tool.name].append(checked(tool, world, dst, tool.copy(world, dst)))
            say(f"cold {turn + 1}/{repeats} {tool.name}: {runs[tool.name][-1][0].wall_s:.2f} s")
    shutil.rmtree(f"{work}/cold", ignore_errors=True)
    return runs


def second(tools, world, work, repeats):
    """Each tool keeps a copy of its own up to date; before every pass the world changes by 1 %."""
    copies = {tool.name: f"{work}/second-{i}" for i, tool in enumerate(tools)}
    for tool in tools:
        shutil.rmtree(copies[tool.name], ignore_errors=True)
        tool.copy(world, copies[tool.name])
    runs, changed = {tool.name: [] for tool in tools}, []
    for turn in range(repeats):
        worldgen("mutate", world, "--pct", "1", "--seed", str(100 + turn))
        changed.append(treediff(copies[tools[0].name], world)[1])
        for tool in rotated(tools, turn):
            settle(work)
            runs[tool.name].append(checked(tool, world, copies[tool.name], tool.copy(world, copies[tool.name])))
            say(f"second {turn + 1}/{repeats} {tool.name}: {runs[tool.name][-1][0].wall_s:.2f} s")
    for path in copies.values():
        shutil.rmtree(path, ignore_errors=True)
    return runs, changed


def peak_memory(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")), 0.0)
    except OSError:
        return 0.0


def watch_memory(pids, stop, peak):
    """VmHWM only rises while a process lives, so looking now and then misses little, and nothing but its last moment."""
    while not stop.wait(0.05):
        for pid in pids:
            peak[pid] = max(peak.get(pid, 0.0), peak_memory(pid))


def migrate_once(badger, size):
    demo = subprocess.Popen([badger, "demo", "--json", "--size", size], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    killer = threading.Timer(LIMIT_S, demo.kill)
    killer.start()
    stop, peak = threading.Event(), {}
    try:
        up = json.loads(demo.stdout.readline())
        watcher = threading.Thread(target=watch_memory, args=([n["pid"] for n in up["nodes"]], stop, peak))
        watcher.start()
        lines = demo.stdout.read().strip().splitlines()
        stop.set()
        watcher.join()
        if demo.wait() != 0:
            raise RuntimeError(f"badger demo --size {size} ended with {demo.returncode}")
        return json.loads(lines[-1]), max(peak.values())
    finally:
        stop.set()
        killer.cancel()
        demo.poll() is None and demo.kill()


def freeze(badger, sizes, repeats):
    runs = {}
    for size in sizes:
        runs[size] = []
        for turn in range(repeats):
            receipt, rss = migrate_once(badger, size)
            runs[size].append((receipt, rss))
            say(f"freeze {size} {turn + 1}/{repeats}: {receipt['freeze_ms']} ms, {rss:.0f} MiB")
    return runs


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def lost_words(runs):
    kinds = sorted({kind for _, lost in runs for kind in lost})
    return ", ".join(kinds) or "–"


def copy_rows(runs, changed=None):
    for name, pairs in runs.items():
        mid = lambda field: median(getattr(run, field) for run, _ in pairs)
        row = [name, f"{mid('wall_s'):.2f}", f"{mid('durable_s'):.2f}", f"{mid('cpu_s'):.2f}",
               f"{max(run.rss_mib for run, _ in pairs):.0f}"]
        if changed is not None:
            ratios = lambda field: [getattr(run, field) / blocks for (run, _), blocks in zip(pairs, changed) if getattr(run, field) is not None]
            for field in ("sent_bytes", "wire_bytes"):
                row.append(f"{median(ratios(field)):.2f}" if ratios(field) else "all")
        yield [*row, lost_words(pairs)]


def freeze_rows(runs):
    for size, pairs in runs.items():
        frozen = sorted(receipt["freeze_ms"] for receipt, _ in pairs)
        yield [size, f"{median(frozen):.0f}", f"{frozen[-1]}", f"{max(rss for _, rss in pairs):.0f}"]


COPY_HEAD = ["tool", "seconds", "seconds until on disk", "CPU s, both ends", "peak MiB of a side"]


def report(options, facts, results):
    yield from ("# Results", "", "Written by `make bench`; do not edit by hand. Goals: cold copy no slower than `rsync -a`; "
                "second pass at most 1.25 × the changed blocks;", "freeze at most 2 s at both sizes; memory of a side at most 96 MiB.", "")
    yield from table(["machine", ""], [[k, v] for k, v in facts.items()])
    if "cold" in results:
        yield from (f"## Cold copy of a {options.size} world", "", f"Source in the page cache, target empty; medians of {options.repeats}. "
                    "`badger copy` encrypts, hashes, writes durably, and reads back; the others do none of it.", "")
        yield from table([*COPY_HEAD, "not carried"], copy_rows(results["cold"]))
    if "second" in results:
        runs, changed = results["second"]
        yield from ("## Second pass after 1 % of the chunks changed", "", f"Medians of {options.repeats}. Changed 4 KiB blocks (treediff.py, before the pass): "
                    f"{median(changed) / MIB:.1f} MiB in the median. *Content* is bytes of file content sent, *wire* what went over the connection; both in multiples of the changed blocks.", "")
        yield from table([*COPY_HEAD, "content", "wire", "not carried"], copy_rows(runs, changed))
    if "freeze" in results:
        yield from ("## Freeze of a live migration", "", f"`badger demo --size N`, {options.freeze_repeats} runs each: milliseconds from the end of the game on the source to its start on the target, while a client writes.", "")
        yield from table(["world", "median ms", "worst ms", "peak MiB of a daemon"], freeze_rows(results["freeze"]))


def parse():
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--badger", default="target/release/badger")
    parser.add_argument("--work", default=f"{cache}/badgerpanel", metavar="DIR")
    parser.add_argument("--only", default="cold,second,freeze")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.size, options.repeats, options.freeze_repeats = ("64M", 2, 1) if options.quick else ("1G", 5, 5)
    options.freeze_sizes = ["64M"] if options.quick else ["1G", "4G"]
    options.badger = os.path.abspath(options.badger)
    # A directory of our own in the one that was named: it goes at the end, and two runs do not meet in it.
    os.makedirs(options.work, exist_ok=True)
    options.work = tempfile.mkdtemp(prefix="badger-bench.", dir=options.work)
    return options


def measure(options, work):
    parts, results = options.only.split(","), {}
    tools = [Badger(options.badger), Badger(options.badger, loopback=False), Rsync(daemon=True), Rsync(daemon=False),
             Rsync(daemon=True, options=("-aHAXS",)), Tar()]
    if "cold" in parts or "second" in parts:
        world = f"{work}/world"
        say(f"making a world of {options.size}")
        worldgen("gen", world, "--size", options.size)
        warm(world)
    if "cold" in parts:
        results["cold"] = cold(tools, world, work, options.repeats)
    if "second" in parts:
        results["second"] = second(tools, world, work, options.repeats)
    if "freeze" in parts:
        results["freeze"] = freeze(options.badger, options.freeze_sizes, options.freeze_repeats)
    return results


def main():
    options = parse()
    try:
        facts = machine(options.work) | {"command": "`bench/run.py " + " ".join(sys.argv[1:]) + "`",
                                         "date": datetime.date.today().isoformat()}
        text = "\n".join(report(options, facts, measure(options, options.work)))
    finally:
        shutil.rmtree(options.work, ignore_errors=True)
    print(text)
    if not options.quick:
        with open(f"{HERE}/RESULTS.md", "w") as file:
            file.write(text)


if __name__ == "__main__":
    main()
