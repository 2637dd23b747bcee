#!/usr/bin/env python3
"""Packs a directory into an image archive for `docker load`, without an engine and always with the same digest.

    mkimage.py ROOT NAME:TAG OUT.tar [--user U] [--workdir D] [--env K=V]… [--entrypoint JSON] [--label K=V]… [--root-owns]

The archive is an OCI image layout that also has Docker's manifest.json: `docker load` and `ctr images import` take it.
One layer, entries sorted, times zero: the same tree gives the same image, so that two engines that load it agree on its
id. `docker import` would give each its own. --root-owns: every path is root's, whoever made ROOT; without it owners
are as they are there, which takes root to be of use.
Memory is constant: the layer goes through a temporary file beside OUT.
"""
import argparse
import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
EPOCH = "1970-01-01T00:00:00Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def walk(root):
    """Every path below root, a directory before what is in it, in an order that does not depend on the file system."""
    for name in sorted(os.listdir(root)):
        path = os.path.join(root, name)
        yield path
        if os.path.isdir(path) and not os.path.islink(path):
            yield from walk(path)


def pack(root, out, root_owns):
    """Writes the layer. A path that a tar archive cannot hold is an error, not left out."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in walk(root):
            entry = tar.gettarinfo(path, os.path.relpath(path, root))
            if entry is None:
                raise SystemExit(f"{path}: a socket cannot be part of an image")
            entry.mtime = 0
            entry.uname = entry.gname = ""
            if root_owns:
                entry.uid = entry.gid = 0
            if entry.isreg():
                with open(path, "rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)


def digest_of(file):
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def describe(media_type, data):
    return {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


def image_config(options, layer_digest):
    run = {"Env": [PATH, *options.env], "WorkingDir": options.workdir}
    run |= {"Labels": dict(label.split("=", 1) for label in options.label)} if options.label else {}
    run |= {"User": options.user} if options.user else {}
    run |= {"Entrypoint": options.entrypoint} if options.entrypoint else {}
    return {"architecture": options.arch, "os": "linux", "created": EPOCH, "config": run, "history": [{"created": EPOCH}],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + layer_digest]}}


def documents(options, layer_digest, layer_size):
    """The small files of the archive, by name."""
    config = canonical(image_config(options, layer_digest))
    layer = {"mediaType": LAYER, "digest": "sha256:" + layer_digest, "size": layer_size}
    manifest = canonical({"schemaVersion": 2, "mediaType": MANIFEST, "config": describe(CONFIG, config), "layers": [layer]})
    names = {"io.containerd.image.name": options.name, "org.opencontainers.image.ref.name": options.name.rsplit(":", 1)[1]}
    blob = lambda data: "blobs/sha256/" + hashlib.sha256(data).hexdigest()
    return {
        "oci-layout": canonical({"imageLayoutVersion": "1.0.0"}),
        "index.json": canonical({"schemaVersion": 2, "manifests": [describe(MANIFEST, manifest) | {"annotations": names}]}),
        "manifest.json": canonical([{"Config": blob(config), "RepoTags": [options.name],
                                     "Layers": ["blobs/sha256/" + layer_digest]}]),
        blob(config): config,
        blob(manifest): manifest,
    }


def write(out, small, layer, layer_digest, layer_size):
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in sorted(small.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        entry = tarfile.TarInfo("blobs/sha256/" + layer_digest)
        entry.size = layer_size
        layer.seek(0)
        tar.addfile(entry, layer)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("root", "name", "out"):
        parser.add_argument(name)
    parser.add_argument("--arch", default=ARCHITECTURES.get(platform.machine(), platform.machine()))
    parser.add_argument("--user", default="")
    parser.add_argument("--workdir", default="/")
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--entrypoint", type=json.loads)
    parser.add_argument("--root-owns", action="store_true")
    options = parser.parse_args()
    if not os.path.isdir(options.root) or ":" not in options.name:
        parser.error("ROOT must be a directory, NAME must have a tag")
    with tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(options.out))) as layer:
        pack(options.root, layer, options.root_owns)
        size, digest = layer.tell(), digest_of(layer)
        partial = options.out + ".partial"
        write(partial, documents(options, digest, size), layer, digest, size)
    os.replace(partial, options.out)


if __name__ == "__main__":
    main()
