"""What the fuzzer knows of the panel under test, beyond its document: which ids exist.

Random ids are answered with 404, and nothing behind that is ever reached. So every list of the document is read once, and an
id in a path is one that is there about every other time. test-openapi.sh also runs this file by itself, before the
fuzzer: then it sends the example of every creation once, so that there is something in the lists.

BADGER_URL and BADGER_API_KEY say where the panel is.
"""

import json
import os
import random
import re
import sys
import urllib.error
import urllib.request
from functools import cache

URL = os.environ["BADGER_URL"]
KEY = os.environ["BADGER_API_KEY"]


def call(method, path, body=None):
    """The answer's body, or None if it is no success."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(URL + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        print(f"{method} {path}: {error.code} {error.read().decode()[:200]}", file=sys.stderr)
        return None


@cache
def document():
    return call("GET", "/api/v1/openapi.json")


@cache
def ids(path):
    """Ids in the list at `path`, without that of the key in use: it must not be deleted."""
    answer = call("GET", path) or {}
    items = answer.get("data")
    found = [item["id"] for item in items if "id" in item] if isinstance(items, list) else []
    return found[1:] if path.endswith("/api-keys") else found


def lists_before(path):
    """Each parameter of `path`, with the path of the list in front of it: /servers/{id}/subusers/{user_id}."""
    for match in re.finditer(r"/\{(\w+)\}", path):
        yield match.group(1), path[: match.start()]


def with_ids(path, values):
    """`values` for the parameters of `path`, with ids that exist where there are any."""
    known = dict(values)
    for name, listed in lists_before(path):
        if document()["paths"].get(listed, {}).get("get") is None and "/admin" not in listed:
            listed = listed.replace("/api/v1/", "/api/v1/admin/", 1)
        found = ids(re.sub(r"\{(\w+)\}", lambda match: str(known.get(match.group(1), "")), listed))
        if found:
            known[name] = random.choice(found)
    return known


def example_of(operation):
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    if "$ref" in schema:
        schema = document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return content.get("example", schema.get("example"))


def fill():
    """Sends the example of every creation once, with ids that exist in it."""
    made = 0
    for path, item in document()["paths"].items():
        example = example_of(item.get("post", {}))
        if example is None or "/auth/" in path or path.endswith(("/transfer", "/password", "/cancel")):
            continue
        values = with_ids(path, {})
        if path.count("{") > len(values):
            continue
        for field in ("node_id", "egg_id", "server_id"):
            found = ids(f"/api/v1/admin/{field[:-3]}s")
            if field in example and found:
                example[field] = found[0]
        target = re.sub(r"\{(\w+)\}", lambda match: values[match.group(1)], path)
        made += call("POST", target, example) is not None
    print(f"{made} examples were taken as they are", file=sys.stderr)


if __name__ == "__main__":
    fill()
else:
    import schemathesis

    @schemathesis.hook
    def before_call(context, case, **kwargs):
        if case.path_parameters and random.random() < 0.5:
            case.path_parameters = with_ids(context.operation.path, case.path_parameters)
