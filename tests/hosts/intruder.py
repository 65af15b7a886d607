"""Tries the doors of a cluster's head as any machine of its network can.

`python -m tests.hosts.intruder ADDRESS [TOKEN]` prints a JSON object: of each door "in", "refused"
(the token is wanted, or it is not that one) or "closed" (nothing listens there).
"""

import json
import socket
import sys
import urllib.error
import urllib.request

import grpc

UNWELCOME = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
CALLS = {
    "GCS: nodes": (6379, "NodeInfoGcsService/GetAllNodeInfo"),
    "GCS: stored values": (6379, "InternalKVGcsService/InternalKVKeys"),
    "GCS: jobs": (6379, "JobInfoGcsService/GetAllJobInfo"),
    "object manager: pull": (8076, "ObjectManagerService/Pull"),
    "node manager: figures": (8077, "NodeManagerService/GetNodeStats"),
    "client port: ping": (10001, "RayletDriver/ClusterInfo"),
}
JOBS = {
    "jobs: dashboard": (8265, "api/jobs/"),
    "jobs: agent of a host": (52365, "api/job_agent/jobs/"),
}
REQUESTS = {"RayletDriver/ClusterInfo": b"\x08\x06"}  # its field 1 is 6, a ping; of the rest: empty
WORKERS = range(10100, 11000)  # one listens where a driver or an actor runs


def call(address: str, port: int, method: str, token: str) -> str:
    """A gRPC call, not encrypted."""
    if not listens(address, port):
        return "closed"
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"{address}:{port}", options=options) as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{method}")(
                REQUESTS.get(method, b""),
                timeout=20,
                metadata=[("authorization", f"Bearer {token}")] if token else None,
            )
        except grpc.RpcError as error:
            return "refused" if error.code() in UNWELCOME else f"{error.code().name}"
    return "in"


def submit(address: str, port: int, path: str, token: str) -> str:
    """A job that would leave a file behind."""
    request = urllib.request.Request(
        f"http://{address}:{port}/{path}",
        json.dumps({"entrypoint": "touch ~/an-intruder-was-here"}).encode(),
        {"Content-Type": "application/json"}
        | ({"Authorization": f"Bearer {token}"} if token else {}),
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        direct.open(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        return "refused" if error.code in (401, 403) else f"HTTP {error.code}"
    except OSError:
        return "closed"
    return "in"


def listens(address: str, port: int) -> bool:
    with socket.socket() as door:
        door.settimeout(5)
        return door.connect_ex((address, port)) == 0


def main(address: str, token: str = "") -> dict[str, str]:
    found = {door: call(address, *where, token) for door, where in CALLS.items()}
    found |= {door: submit(address, *where, token) for door, where in JOBS.items()}
    worker = next((port for port in WORKERS if listens(address, port)), WORKERS[0])
    found["worker: figures"] = call(address, worker, "CoreWorkerService/GetCoreWorkerStats", token)
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
