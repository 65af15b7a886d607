"""Joining a cluster, with and without what it takes."""

import json
import os
import socket
import subprocess
import sys
from contextlib import nullcontext

import pytest

from cluster.doctor.commands import ROOT
from cluster.hosts import Chosen, Shortage
from cluster.join import find_cluster, wait_for_hosts
from cluster.placement import plan
from cluster.security import check_closed, check_token_file, is_loopback
from configs.errors import InputError
from configs.schema import RunConfig


@pytest.mark.ray
def test_a_slice_is_reserved_whole_and_given_back(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.joining", tmp_path / "refused"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["found"] and not said["open"], "whoever holds no token gets nothing"
    assert said["ranks"] == ["0", "1"] and said["placed"]
    assert said["options"] == [[], *[["resources", "scheduling_strategy"]] * 2, []]
    assert said["tpus_left"] == 0, "nobody else gets a host of the slice"
    second, seconds = said["second"]
    assert "no slice of the kind v4-16 became free within 2 s" in second and seconds < 20
    assert said["short"][0].startswith("--hosts 9: 9 hosts wanted, 3 registered, 6 missing")
    assert said["launched"] == [2, False], "a refused run must leave nothing behind"
    assert "error: --hosts 9: 9 hosts wanted, 3 registered, 6 missing" in done.stderr
    assert said["again"], "what was reserved was given back"
    crew = said["crew"]
    assert crew["where"][0] == ["old"] and crew["where"][1][0] == "new"
    assert crew["where"][1][1] != "new" and crew["lost"] == {}, "it had finished what it had"
    assert [what.rpartition(")")[2] for what in crew["told"]] == [
        " has joined: rollout", " is to be taken away: it drains",
    ]  # fmt: skip
    assert said["no_token"][0].startswith("/nonexistent/token: No such file")


def test_the_wait_for_hosts_says_what_is_missing_and_ends(capsys, monkeypatch):
    from cluster import join

    monkeypatch.setattr(join, "_SAY_EVERY_S", 0.0)
    monkeypatch.setattr(join, "_POLL_S", 0.01)
    here = Chosen((), plan(1, RunConfig()))
    answers = iter([Shortage("hosts", 4, 1, ""), Shortage("hosts", 4, 3, ""), here])
    assert wait_for_hosts(lambda: next(answers), 5.0, "--hosts 4") is here
    assert "4 hosts wanted, 3 registered, 1 missing (0 of 5 s)" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"--hosts 4: 4 hosts wanted.* after 0 s .*; start more"):
        wait_for_hosts(lambda: Shortage("hosts", 4, 1, "start more"), 0.0, "--hosts 4")


def test_which_cluster_is_joined(monkeypatch, tmp_path):
    from cluster import join

    monkeypatch.setattr(join, "_CURRENT", tmp_path / "ray_current_cluster")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert find_cluster("") == "" == find_cluster("local")
    (tmp_path / "ray_current_cluster").write_text("127.0.0.1:1")  # nothing listens there
    assert find_cluster("") == ""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert find_cluster("") == "10.0.0.1:6379"
    assert find_cluster("10.0.0.2:6379") == "10.0.0.2:6379" and find_cluster("local") == ""


def test_a_token_that_others_can_read_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    token = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    with pytest.raises(InputError, match="a cluster is joined with its token"):
        check_token_file()
    token.write_text("secret")
    token.chmod(0o644)
    with pytest.raises(InputError, match="mode 644: others can read the token; chmod 600"):
        check_token_file()
    token.chmod(0o600)
    check_token_file()


def test_a_cluster_that_is_open_to_a_network_is_refused(monkeypatch):
    from cluster import security

    monkeypatch.setattr(security, "answers_without_token", lambda address: True)
    with pytest.raises(InputError, match="runs code for whoever reaches it"):
        check_closed("10.0.0.1:6379")
    check_closed("127.0.0.1:6379")
    assert is_loopback("::1") and is_loopback("localhost") and not is_loopback("head")


def test_an_address_where_nothing_answers_is_refused():
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127.0.0.1:1 \("):
        from cluster.security import answers_without_token

        answers_without_token("127.0.0.1:1")


def test_without_a_cluster_the_hosts_are_local(monkeypatch):
    from cluster import join
    from cluster.connect import Connection

    here = Connection(("n0", "n1"), ("10.0.0.1",) * 2, local=True)
    monkeypatch.setattr(join, "connect", lambda planned: nullcontext(here))
    with join.hosts_for(2, RunConfig(), "") as (connection, planned):
        assert connection is here and planned == plan(2, RunConfig())
    with pytest.raises(InputError, match="9999 local hosts need"):
        join.check_local(9999, RunConfig(), "")
    join.check_local(9999, RunConfig(), "10.0.0.1:6379")  # a cluster's hosts have their own memory


def test_a_cluster_that_another_user_names_is_not_joined(monkeypatch, tmp_path):
    from cluster import join

    named = tmp_path / "ray_current_cluster"
    with socket.create_server(("127.0.0.1", 0)) as server:
        named.write_text(f"127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(join, "_CURRENT", named)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        assert find_cluster("") == named.read_text() == find_cluster("auto")
        if os.getuid() == 0:
            os.chown(named, 1234, 1234)
        monkeypatch.setattr(os, "getuid", lambda: 4321)
        assert find_cluster("") == ""
