"""The notice that Google Cloud gives a spot machine half a minute before it takes it away.

Every actor of a run waits for it, wherever it runs, and tells Ray, which then lets the host drain;
`cluster.crew` and `cluster.stopper` see to what runs there. Elsewhere than on Google Cloud nothing
is asked of anybody. https://cloud.google.com/compute/docs/instances/create-use-spot
"""

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import ray
from ray._private.worker import global_worker
from ray.core.generated import autoscaler_pb2

logger = logging.getLogger(__name__)

_SERVER = "GCE_METADATA_HOST"  # as in Google's own libraries
_PRODUCT = Path("/sys/class/dmi/id/product_name")
_PATH = "/computeMetadata/v1/instance/preempted?wait_for_change=true&timeout_sec=60&last_etag="
_PATIENCE_S = 90.0
_AGAIN_S = 5.0
_LEFT_S = 30.0  # from the notice until the machine is gone


def metadata_server() -> str:
    """Where this machine's metadata is; "" where there is none."""
    if named := os.environ.get(_SERVER):
        return named
    try:
        return "metadata.google.internal" if "Google" in _PRODUCT.read_text() else ""
    except OSError:
        return ""


def heed() -> None:
    """Wait for the notice, in a thread of this actor."""
    if server := metadata_server():
        threading.Thread(target=_wait, args=(server,), name="notice", daemon=True).start()


def _wait(server: str) -> None:
    etag = "0"  # differs from any, so the first answer comes at once
    while True:
        request = Request(f"http://{server}{_PATH}{etag}", headers={"Metadata-Flavor": "Google"})
        try:
            with urlopen(request, timeout=_PATIENCE_S) as answer:
                etag, taken = answer.headers.get("ETag", "0"), answer.read() == b"TRUE"
        except OSError:
            time.sleep(_AGAIN_S)
            continue
        if taken:
            logger.warning("this host will be taken away (preemption notice)")
            drain()
            return


def drain() -> None:
    """Tell Ray that this host goes."""
    here = ray.get_runtime_context().get_node_id()
    until_ms = int(1000 * (time.time() + _LEFT_S))
    ray_itself: Any = global_worker  # what `ray drain-node` calls, too
    reasons: Any = autoscaler_pb2
    reason = reasons.DRAIN_NODE_REASON_PREEMPTION
    ray_itself.gcs_client.drain_node(here, reason, "preemption notice", until_ms)
