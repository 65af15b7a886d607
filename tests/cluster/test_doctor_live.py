"""What is found out about hosts, and what it means for a run."""

from dataclasses import replace

import pytest

from cluster.doctor.exam import PACKAGES, HostExam, Report, jax_backend, project_checksum
from cluster.doctor.live import examine
from cluster.doctor.verdicts import Host, Needs, verdicts
from cluster.placement import plan
from configs.schema import RunConfig

GIB = 2**30
NEEDS = Needs(policy=GIB, checkpoints=40 * GIB, checkpoint=10 * GIB)
REPORT = Report(
    python="3.11.7", packages=dict.fromkeys(PACKAGES, "1.0"), project="abc", open_files=65536,
    free_bytes=100 * GIB, write_mb_s=500.0, folder_error="", backend="tpu 4",
)  # fmt: skip


def host(name, **more):
    fields = {
        "name": name, "writes": True, "report": REPORT, "skew_s": 0.0, "seen": ("a", "b"),
        "unreached": (), "store_bytes": 4 * GIB, "devices": "tpu 4",
    }  # fmt: skip
    return Host(**(fields | more))


def test_sound_hosts_have_nothing_to_mend():
    checks = verdicts([host("a"), host("b")], NEEDS)
    assert not [check for check in checks if check.remedy]
    assert {check.what for check in checks} >= {"Python", "project", "clock", "network", "JAX"}


@pytest.mark.parametrize(
    ("changed", "what", "remedy"),
    [
        ({"report": replace(REPORT, python="3.12.1")}, "Python", "the driver's is 3.11.7"),
        (
            {"report": replace(REPORT, packages=REPORT.packages | {"jax": "0.9"})},
            "jax",
            "uv sync --locked",
        ),
        ({"report": replace(REPORT, project="xyz")}, "project", "files differ"),
        ({"skew_s": -3.5}, "clock", "NTP"),
        ({"report": replace(REPORT, open_files=512)}, "open files", "at least 576"),
        ({"unreached": ("a",)}, "network", "open all tcp ports"),
        ({"store_bytes": 2 * GIB}, "object store", "at least 3.00 GiB"),
        ({"report": replace(REPORT, backend="cpu 1")}, "JAX", "Ray has tpu 4 here"),
        ({"report": replace(REPORT, folder_error="Permission denied")}, "run folder", "writable"),
        ({"seen": ("b",)}, "shared folder", "files of a are not seen here"),
        ({"report": replace(REPORT, free_bytes=9 * GIB)}, "free disk", "take 40.0 GiB"),
        ({"report": replace(REPORT, write_mb_s=5.0)}, "write speed", "would take 2147 s"),
    ],
)
def test_each_fault_is_found_and_has_a_remedy(changed, what, remedy):
    (found,) = [
        check for check in verdicts([host("a"), host("b", **changed)], NEEDS) if check.remedy
    ]
    assert (found.what, found.host) == (what, "b")
    assert remedy in found.remedy


def test_hosts_that_only_sample_need_no_shared_folder():
    sampler = host("b", writes=False, seen=(), report=replace(REPORT, free_bytes=0))
    assert not [check for check in verdicts([host("a"), sampler], NEEDS) if check.remedy]


def test_a_host_examines_itself(tmp_path):
    exam = HostExam(tmp_path / "runs", "a", ask_jax=False)
    report = exam.report()
    assert report.packages["ray"] and report.write_mb_s > 0 and report.free_bytes > 0
    assert report.backend == report.folder_error == ""
    assert exam.seen() == ["a"] and [p.name for p in (tmp_path / "runs").iterdir()] == [".doctor-a"]
    port = exam.listen()
    assert exam.reaches([("127.0.0.1", port), ("127.0.0.1", 1)]) == [True, False]
    exam.close()
    assert not list((tmp_path / "runs").iterdir())
    (tmp_path / "file").write_text("")
    assert HostExam(tmp_path / "file", "a", False).report().folder_error == "File exists"


def test_the_project_is_known_by_its_files(tmp_path):
    for name in ("uv.lock", "launch.py", "actors/a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    before = project_checksum(tmp_path)
    (tmp_path / "actors" / "notes.txt").write_text("not code")
    assert project_checksum(tmp_path) == before
    (tmp_path / "actors" / "a.py").write_text("2")
    assert project_checksum(tmp_path) != before


def test_jax_is_asked_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    assert "nonsense" in jax_backend()


@pytest.mark.ray
def test_hosts_of_a_cluster_are_examined(connection, tmp_path):
    config = RunConfig()
    found = examine(connection, plan(2, config), tmp_path)
    assert [one.name for one in found] == ["host0", "host1"]
    assert found[0].seen == ("host0", "host1") and not found[0].unreached
    assert (found[0].writes, found[1].writes) == (True, False)
    small = Needs(policy=10**6, checkpoints=10**6, checkpoint=10**6)
    failing = {check.what for check in verdicts(found, small) if check.remedy}
    assert failing <= {"open files"}  # as this machine has it
