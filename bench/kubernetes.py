#!/usr/bin/env python3
"""What a migration costs on Kubernetes, beside Docker, in one run on one machine; writes bench/KUBERNETES.md.

    make bench-kubernetes [ARGS=--quick]

It runs in scripts/test-kubernetes.sh, which starts two Docker engines and two clusters, loads the images, and sets the variables that the
tests get too (BADGER_TEST_*). Freeze of a live migration in all four directions under the same write load; throughput of a cold copy from pod to
pod and from container to container; what is left in the clusters after aborted migrations. Everything goes through the public API.
"""
import argparse
import contextlib
import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from statistics import median

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from measure import machine  # noqa: E402
from run import say, table  # noqa: E402

MIB = 1 << 20
PLACES = ("docker-1", "docker-2", "cluster-a", "cluster-b")
WAYS = (("docker-1", "docker-2"), ("cluster-a", "cluster-b"), ("docker-1", "cluster-a"), ("cluster-a", "docker-1"))
FINAL = {"completed", "rolled_back", "stuck"}


def env(name):
    value = os.environ.get(f"BADGER_TEST_{name}")
    if not value:
        sys.exit(f"BADGER_TEST_{name} is not set: make bench-kubernetes sets it")
    return value


class Api:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def __call__(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from None
        return json.loads(text)["data"] if text else None


def wait_for(what, seconds, probe):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = probe()
        if value:
            return value
        time.sleep(0.2)
    raise RuntimeError(f"{what} did not come within {seconds} s")


def kubectl(cluster, *args):
    config = env(f"KUBE_{cluster[-1].upper()}")
    return subprocess.run([env("KUBECTL"), "--kubeconfig", config, *args], check=True, capture_output=True, text=True).stdout


class House:
    """A panel, a daemon on each engine, an orchestrator in each cluster, and the sample game's egg."""

    def __init__(self, badger, work):
        self.badger, self.work, self.processes, self.ids, self.first = badger, work, [], {}, {}

    def spawn(self, name, *args, **popen):
        log = open(f"{self.work}/{name}.log", "w")
        self.processes.append(subprocess.Popen([self.badger, *map(str, args)], stdout=log, stderr=log, **popen))

    def up(self):
        address = f"{env('KUBE_HOST')}:{18000 + os.getpid() % 1000}"
        self.spawn("panel", "panel", "--data", f"{self.work}/panel", "--listen", address, "--image", env("BADGER_IMAGE"))
        key = f"{self.work}/panel/admin.key"
        wait_for("the panel", 30, lambda: os.path.exists(key) and self.answers(address))
        self.api = Api(f"http://{address}", open(key).read().strip())
        for place, host in zip(PLACES, env("DOCKER_HOSTS").split()):
            self.add_node(place, host)
        for place in PLACES[2:]:
            self.add_cluster(place)
        egg = json.load(open(f"{HERE}/../crates/badger/src/demo/ledger-egg.json"))
        egg["docker_images"] = {"Ledger": env("LEDGER_IMAGE")}
        self.egg = self.api("POST", "/admin/eggs/import", egg)["id"]

    @staticmethod
    def answers(address):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://{address}/healthz", timeout=2).status == 200

    def add_node(self, place, engine):
        node = self.api("POST", "/admin/nodes", {"name": place, "memory_mb": 8192, "disk_mb": 65536, "cpu_percent": 800})
        self.spawn(place, "daemon", "--panel", self.api.url, "--token", node["enrolment"]["token"], "--runtime", "docker",
                   "--data", f"{self.work}/{place}", "--data-listen", f"{env('KUBE_HOST')}:0", env=os.environ | {"DOCKER_HOST": engine})
        self.ids[place] = {"node_id": node["id"]}
        wait_for(place, 60, lambda: self.api("GET", f"/admin/nodes/{node['id']}")["status"] == "online")
        ports = [str(p) for p in range(31500, 31510)] if place == "docker-1" else [str(p) for p in range(31510, 31520)]
        made = self.api("POST", "/admin/allocations", {"node_id": node["id"], "ip_address": env("KUBE_HOST"), "ports": ports})
        self.first[place] = made[0]["id"]

    def add_cluster(self, place):
        cluster = self.api("POST", "/admin/clusters", {"name": place})
        tools = os.path.dirname(env("KUBECTL")) + os.pathsep + os.environ["PATH"]
        config = env(f"KUBE_{place[-1].upper()}")
        subprocess.run(["sh", "-c", cluster["enrolment"]["command"]], check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PATH": tools, "KUBECONFIG": config})
        self.ids[place] = {"cluster_id": cluster["id"]}
        wait_for(place, 120, lambda: self.api("GET", f"/admin/clusters/{cluster['id']}")["online"])

    def server(self, place, size):
        cpu = 1000 if "cluster_id" in self.ids[place] else 100  # millicores there, percent here: one core
        body = {"name": "ledger", "egg_id": self.egg, "memory_limit": 512, "disk_limit": (size >> 20) * 5 // 4 + 512, "cpu_limit": cpu,
                "environment": {"BADGER": "/usr/bin/badger", "WORLD_SIZE": str(size), "DIRTY_RATE": "1M", "END_WITH": ""}, **self.ids[place]}
        if place in self.first:
            body["allocation_id"] = self.first[place]
        server = self.api("POST", "/admin/servers", body)["id"]
        self.wait_status(server, "offline")
        self.api("POST", f"/servers/{server}/power", {"signal": "start"})
        self.wait_status(server, "running")
        return server

    def remove(self, server):
        self.api("POST", f"/servers/{server}/power", {"signal": "stop"})
        self.wait_status(server, "offline")
        self.api("DELETE", f"/admin/servers/{server}")

    def wait_status(self, server, status):
        wait_for(f"status {status}", 600, lambda: self.api("GET", f"/admin/servers/{server}")["status"] == status)

    def start_move(self, server, target, **options):
        target = {f"target_{kind}": value for kind, value in self.ids[target].items()}
        return self.api("POST", f"/admin/servers/{server}/transfer", {**target, "retain_source_for_s": 0, **options})["id"]

    def ended(self, transfer):
        return wait_for("the end of a transfer", 900, lambda: self.final(transfer))

    def final(self, transfer):
        found = self.api("GET", f"/admin/transfers/{transfer}")
        return found if found["state"] in FINAL else None

    def move(self, server, target, **options):
        ended = self.ended(self.start_move(server, target, **options))
        if ended["state"] != "completed":
            raise RuntimeError(f"a transfer to {target} ended {ended['state']}: {ended['failure']}")
        return ended

    def down(self):
        for place in PLACES[2:]:
            with contextlib.suppress(Exception):
                kubectl(place, "delete", "namespace", "-l", "badgerpanel.io/server", "--wait=true", "--timeout=120s")
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()


def freeze(house, sizes, repeats):
    """One server a size; it goes along each way `repeats` times, and back without being counted."""
    rows = {}
    for size in sizes:
        server, here = house.server("docker-1", size), "docker-1"
        for source, target in WAYS:
            if here != source:
                house.move(server, source)
            for turn in range(repeats):
                ended = house.move(server, target)
                rows.setdefault((size, source, target), []).append(ended)
                say(f"freeze {size // MIB} MiB {source} → {target} {turn + 1}/{repeats}: {ended['freeze_ms']} ms, path {(ended.get('path') or {}).get('kind')}")
                here = target
                if turn + 1 < repeats:
                    house.move(server, source)
                    here = source
        house.remove(server)
    return rows


def seconds(stage):
    parse = lambda text: datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (parse(stage["finished_at"]) - parse(stage["started_at"])).total_seconds()


def cold(house, size, repeats):
    rows = {}
    for source, target in WAYS[:2]:
        server = house.server(source, size)
        for turn in range(repeats):
            here, there = (source, target) if turn % 2 == 0 else (target, source)
            ended = house.move(server, there, mode="cold")
            stages = {stage["name"]: stage for stage in ended["stages"]}
            took = seconds(stages["transferring"])
            rows.setdefault((source, target), []).append(ended["progress"]["bytes_total"] / MIB / took)
            say(f"cold {here} → {there} {turn + 1}/{repeats}: {rows[source, target][-1]:.0f} MiB/s")
        house.remove(server)
    return rows


def objects(cluster):
    """Everything with our label that is not the orchestrator's own, one name a line."""
    kinds = "namespaces,persistentvolumes,pods,services,persistentvolumeclaims,secrets,configmaps,deployments,replicasets"
    label = "badgerpanel.io/server"
    return set(kubectl(cluster, "get", kinds, "-A", "-l", label, "-o", "name", "--ignore-not-found").split())


def aborts(house, count):
    """Migrations cancelled after a random time; what the target has afterwards that it did not have before."""
    server = house.server("cluster-a", 64 * MIB)
    before, states, dice = objects("cluster-b"), {}, random.Random(1)
    for turn in range(count):
        transfer = house.start_move(server, "cluster-b", bandwidth_limit=32 * MIB)
        time.sleep(dice.uniform(0, 9))
        with contextlib.suppress(RuntimeError):  # past the pivot, or over: then it is not cancelled, and counted as completed
            house.api("POST", f"/admin/transfers/{transfer}/cancel")
        ended = house.ended(transfer)
        states[ended["state"]] = states.get(ended["state"], 0) + 1
        if ended["state"] == "completed":
            house.move(server, "cluster-a")
        say(f"abort {turn + 1}/{count}: {ended['state']}")
    with contextlib.suppress(RuntimeError):  # a volume is removed by its provisioner, after everything else
        wait_for("nothing being left", 60, lambda: objects("cluster-b") <= before)
    left = objects("cluster-b") - before
    house.remove(server)
    return states, left


def report(options, facts, results):
    yield from ("# Results on Kubernetes", "", "Written by `make bench-kubernetes`; do not edit by hand. Goal: freeze at most 1 s above Docker's; no object left after aborted migrations.", "")
    yield from table(["machine", ""], [[k, v] for k, v in facts.items()])
    yield from ("## Freeze of a live migration", "", f"Milliseconds from the end of the game on the source to its start on the target, {options.repeats} runs each; the game rewrites 1 MiB/s meanwhile.", "")
    rows = []
    for (size, source, target), ended in results["freeze"].items():
        frozen = sorted(one["freeze_ms"] for one in ended)
        paths = ", ".join(sorted({str((one.get("path") or {}).get("kind")) for one in ended}))
        rows.append([f"{size // MIB} MiB", f"{source} → {target}", f"{median(frozen):.0f}", str(frozen[-1]), paths])
    yield from table(["world", "way", "median ms", "worst ms", "path"], rows)
    yield from ("## Cold copy", "", "Bytes of the world by the time of the stage `transferring`: sent, written durably, read back and compared.", "")
    yield from table(["way", "MiB/s, median"], [[f"{a} ↔ {b}", f"{median(rates):.0f}"] for (a, b), rates in results["cold"].items()])
    states, left = results["aborts"]
    told = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    yield from (f"## {sum(states.values())} migrations cancelled at a random moment", "", f"Cluster to cluster: {told}. Objects left on the target: **{len(left)}**.", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    triple = next(line[6:] for line in subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout.splitlines() if line.startswith("host: "))
    target = os.environ.get("CARGO_TARGET_DIR", f"{HERE}/../target")
    parser.add_argument("--badger", default=f"{target}/{triple}/release/badger", help="what the images were made of")
    parser.add_argument("--quick", action="store_true", help="small worlds, two repetitions, five aborts; writes nothing")
    options = parser.parse_args()
    options.repeats, options.aborts = (2, 5) if options.quick else (5, 100)
    sizes = [64 * MIB] if options.quick else [1024 * MIB]
    work = tempfile.mkdtemp(prefix="badger-kube-bench.")
    house = House(os.path.abspath(options.badger), work)
    try:
        facts = machine(work) | {"command": "`make bench-kubernetes`", "date": datetime.date.today().isoformat()}
        house.up()
        results = {"freeze": freeze(house, sizes, options.repeats), "cold": cold(house, sizes[0], options.repeats),
                   "aborts": aborts(house, options.aborts)}
        text = "\n".join(report(options, facts, results))
    finally:
        house.down()
        shutil.rmtree(work, ignore_errors=True)
    print(text)
    if not options.quick:
        with open(f"{HERE}/KUBERNETES.md", "w") as file:
            file.write(text)


if __name__ == "__main__":
    main()
