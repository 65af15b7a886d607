"""Google Cloud in memory: the REST calls that Ray's provider makes, behind the real client.

Only the transport is not real: what it is asked and what it answers travels as it would over HTTP.
"""

import json
import re
import threading
import urllib.parse
from functools import cache
from pathlib import Path

import googleapiclient
import httplib2
from googleapiclient import discovery

HOSTS = {"v5litepod-16": 4, "v5litepod-8": 1}
_DONE = {
    "name": "projects/p/locations/z/operations/op",
    "status": "DONE",
    "done": True,
    "response": {},
}
_DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
_APIS = {
    "tpu": "tpu.v2alpha1",
    "compute": "compute.v1",
    "iam": "iam.v1",
    "cloudresourcemanager": "cloudresourcemanager.v1",
}


class Cloud:
    """Machines and slices by name, and every call that was not a GET: (method, path, body)."""

    credentials = None  # the client asks its transport for them

    def __init__(self):
        self.machines, self.slices, self.calls = {}, {}, []
        self._lock = threading.RLock()
        self._policy, self._account, self._metadata = {"bindings": []}, None, {"items": []}

    def request(self, uri, method="GET", body=None, **_):
        parts = urllib.parse.urlparse(uri)
        path = urllib.parse.unquote(parts.path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(parts.query).items()}
        sent = json.loads(body) if body else None
        with self._lock:
            if method != "GET":
                self.calls.append((method, path, sent))
            answer = self._answer(method, path, query, sent)
        status = "404" if answer is None else "200"
        content = {"error": {"code": 404}} if answer is None else answer
        headers = {"status": status, "content-type": "application/json"}
        return httplib2.Response(headers), json.dumps(content).encode()

    def _answer(self, method, path, query, body):
        if "/operations/" in path:
            return _DONE
        if path.startswith("/v1/projects/"):
            return self._project(method, path, body)
        if found := re.fullmatch(r"/compute/v1/projects/[^/]+(/.*)?", path):
            return self._compute(method, found[1] or "", query, body)
        if found := re.fullmatch(r"/v2alpha1/(projects/[^/]+/locations/[^/]+/nodes)(/.+)?", path):
            return self._tpu(method, found[1], found[1] + (found[2] or ""), query, body)
        raise AssertionError((method, path))

    def _project(self, method, path, body):
        if path.endswith(":getIamPolicy"):
            return self._policy
        if path.endswith(":setIamPolicy"):
            self._policy = body["policy"]
            return self._policy
        project = path.split("/")[3]
        if "/serviceAccounts" in path:
            if method == "POST":
                self._account = {"email": f"{body['accountId']}@x.iam", "projectId": project}
            return self._account
        return {"projectId": project, "lifecycleState": "ACTIVE"}

    def _compute(self, method, path, query, body):
        if not path:
            return {"name": "project", "commonInstanceMetadata": self._metadata}
        if path.endswith("/setCommonInstanceMetadata"):
            self._metadata = body
            return _DONE
        found = re.fullmatch(r"/zones/[^/]+/instances(?:/([^/]+))?(/setLabels)?", path)
        assert found, path
        if method == "POST" and found[2]:
            self.machines[found[1]]["labels"] = body["labels"]
            return _DONE
        if method == "POST":
            address = f"10.0.0.{2 + len(self.machines)}"
            self.machines[body["name"]] = (
                {"labels": {}}
                | body
                | {
                    "status": "RUNNING",
                    "labelFingerprint": "x",
                    "networkInterfaces": [{"networkIP": address}],
                }
            )
            return _DONE
        if method == "DELETE":
            self.machines.pop(found[1])
            return _DONE
        if found[1]:
            return self.machines.get(found[1])
        wanted = re.findall(r"labels\.([\w-]+) = ([\w.-]+)", query.get("filter", ""))
        return {
            "items": [
                machine
                for machine in self.machines.values()
                if all(machine["labels"].get(name) == value for name, value in wanted)
            ]
        }

    def _tpu(self, method, every, name, query, body):
        if method == "POST":
            name = f"{every}/{query['nodeId']}"
            subnet = 1 + len(self.slices)
            self.slices[name] = body | {
                "name": name,
                "state": "READY",
                "networkEndpoints": [
                    {"ipAddress": f"10.0.{subnet}.{2 + host}"}
                    for host in range(HOSTS[body["acceleratorType"]])
                ],
            }
            return _DONE
        if method == "DELETE":
            self.slices.pop(name)
            return _DONE
        if method == "PATCH":
            self.slices[name]["labels"] = body["labels"]
            return _DONE
        return {"nodes": list(self.slices.values())} if name == every else self.slices.get(name)


def connect_ray(monkeypatch, cloud):
    """Ray's provider speaks to this cloud, and does not wait between two questions."""
    from ray.autoscaler._private.gcp import config, node

    @cache
    def client(name):
        document = json.loads((_DOCUMENTS / f"{_APIS[name]}.json").read_text())
        return discovery.build_from_document(document, http=cloud)

    class Discovery:
        @staticmethod
        def build(name, version, **_):
            return client(name)

    monkeypatch.setattr(config, "discovery", Discovery)
    monkeypatch.setattr(config, "POLL_INTERVAL", 0)
    monkeypatch.setattr(node, "POLL_INTERVAL", 0)
    for kind in (node.GCPCompute, node.GCPTPU):
        monkeypatch.setattr(kind, "get_new_authorized_http", lambda self, http: cloud)


class Shell:
    """In the place of the module `subprocess` in Ray's command runners: what each host was told."""

    DEVNULL, PIPE, STDOUT = -3, -1, -2

    def __init__(self):
        self.told = []  # (address, "ssh" or "rsync", command)
        self.sent = {}  # path on the head -> content of small files
        self._lock = threading.Lock()

    def check_call(self, command, *_, **__):
        words = [str(word) for word in command]
        target = next((word for word in words if re.match(r"[\w.-]+@[\d.]+(:|$)", word)), None)
        if target is None:
            return
        address, _, remote = target.partition("@")[2].partition(":")
        with self._lock:
            if words[0] == "rsync" and Path(words[-2]).is_file():
                self.sent[remote] = Path(words[-2]).read_text()
            shown = f"{words[-2]} -> {remote}" if words[0] == "rsync" else words[-1]
            self.told.append((address, words[0], shown))

    def check_output(self, command, *_, **__):
        self.check_call(command)
        return b""

    def on(self, address):
        return [command for host, _, command in self.told if host == address]
