"""Hosts that come and go while a run goes on: who works where."""

import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster import notice
from cluster.connect import Connection, leaving
from cluster.crew import Joined, seat
from cluster.hosts import Host
from cluster.placement import Plan

HEAD = Host("n0", "10.0.0.1", "head")
LEARNER = Host("n1", "10.0.0.2", "learner")
SAMPLES = Host("n2", "10.0.0.3", "rollout", chips=8)
JUDGES = Host("n3", "10.0.0.4", "judge")
RUN = Connection(
    tuple(host.node for host in (HEAD, LEARNER, SAMPLES, JUDGES)),
    tuple(host.address for host in (HEAD, LEARNER, SAMPLES, JUDGES)),
    local=False,
    options=({}, {}, {"resources": {"TPU": 8}}, {}),
)
PLACES = {"rollout": (2,), "judge": (3,)}


def test_a_host_that_joins_works_beside_the_others():
    more = Host("n4", "10.0.0.5", "rollout", chips=4), Host("n5", "10.0.0.6", "judge")
    now, joined = seat(RUN, PLACES, [HEAD, LEARNER, SAMPLES, JUDGES, *more])
    assert joined == [Joined("rollout", 4, again=False), Joined("judge", 5, again=False)]
    assert now.nodes == (*RUN.nodes, "n4", "n5")
    assert now.addresses[4:] == ("10.0.0.5", "10.0.0.6")
    assert now.options == (*RUN.options, {"resources": {"TPU": 4}}, {})
    assert seat(now, PLACES, [HEAD, LEARNER, SAMPLES, JUDGES, *more]) == (now, [])


def test_a_host_that_joins_takes_the_place_of_one_of_its_kind_that_was_lost():
    back = Host("n9", "10.0.0.3", "rollout", chips=8)
    now, joined = seat(RUN, PLACES, [HEAD, LEARNER, JUDGES, back])
    assert joined == [Joined("rollout", 2, again=True)]
    assert now.nodes == ("n0", "n1", "n9", "n3") and now.options == RUN.options
    judge = Host("n8", "10.0.0.8", "judge")
    now, joined = seat(RUN, PLACES, [HEAD, LEARNER, JUDGES, judge])
    assert joined == [Joined("judge", 4, again=False)], "a judge is no rollout host"


def test_spares_and_hosts_without_a_role():
    learner, nobody = Host("n4", "10.0.0.5", "learner"), Host("n5", "10.0.0.6")
    everybody = [HEAD, LEARNER, SAMPLES, JUDGES]
    assert seat(RUN, PLACES, [*everybody, learner]) == (RUN, []), "a spare one for the learner"
    assert seat(RUN, PLACES, [*everybody, nobody])[1] == [Joined("rollout", 4, again=False)]
    bare = [replace(host, role="") for host in everybody]
    assert seat(RUN, PLACES, [*bare, nobody]) == (RUN, []), "--hosts says how many there are"


def test_a_run_ends_early_for_its_driver_or_learner_alone(monkeypatch):
    plan = Plan(4, learner=(1,), rollout=(2,), judge=(3,))
    for going, ends in (({"n2", "n3"}, False), ({"n1"}, True), ({"n0"}, True), (set(), False)):
        monkeypatch.setattr("cluster.connect.draining", lambda going=going: going)
        assert bool(leaving(RUN, plan)) == ends
    monkeypatch.setattr("cluster.connect.draining", lambda: {"n1", "n2"})
    assert leaving(RUN, plan) == "host 1 (10.0.0.2, n1)"


class Metadata(BaseHTTPRequestHandler):
    """Of a spot machine: not taken, nothing new for a while, an error, taken."""

    answers = (200, b"FALSE"), (200, b"FALSE"), (503, b""), (200, b"TRUE")

    def do_GET(self):
        asked = self.server.asked
        status, body = self.answers[len(asked)]
        asked.append((self.path, self.headers["Metadata-Flavor"]))
        self.send_response(status)
        self.send_header("ETag", f"e{len(asked)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        return


@pytest.fixture
def metadata():
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_notice_of_a_spot_machine_is_heeded(metadata, monkeypatch):
    heeded = threading.Event()
    monkeypatch.setattr(notice, "drain", heeded.set)
    monkeypatch.setattr(notice, "_AGAIN_S", 0.0)
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{metadata.server_port}")
    notice.heed()
    assert heeded.wait(10.0)
    paths, flavours = zip(*metadata.asked, strict=True)
    assert [path.rpartition("=")[2] for path in paths] == ["0", "e1", "e2", "e2"]
    assert all(path.startswith("/computeMetadata/v1/instance/preempted?") for path in paths)
    assert set(flavours) == {"Google"}


def test_elsewhere_nobody_is_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("GCE_METADATA_HOST", raising=False)
    for product, server in (("Google Compute Engine\n", "metadata.google.internal"), ("X1\n", "")):
        (tmp_path / "product").write_text(product)
        monkeypatch.setattr(notice, "_PRODUCT", tmp_path / "product")
        assert notice.metadata_server() == server
    monkeypatch.setattr(notice, "_PRODUCT", tmp_path / "missing")
    assert notice.metadata_server() == ""
