"""TLS between Ray's processes: certificates, what is refused, the check of a cluster's token."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from cluster.security import answers_without_token, check_certificates
from configs.errors import InputError

SCRIPT = Path(__file__).parents[2] / "cluster" / "certificates.sh"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An authority, and the certificate of a host by it."""
    folder = tmp_path_factory.mktemp("tls") / "tls"
    subprocess.run([SCRIPT, folder], check=True)
    authority = (folder / "ca.crt").read_bytes()
    subprocess.run([SCRIPT, folder, "127.0.0.1"], check=True)
    assert (folder / "ca.crt").read_bytes() == authority, "hosts share one authority"
    return folder


def with_tls(monkeypatch, folder):
    monkeypatch.setenv("RAY_USE_TLS", "1")
    files = {"SERVER_CERT": "host.crt", "SERVER_KEY": "host.key", "CA_CERT": "ca.crt"}
    for name, file in files.items():
        monkeypatch.setenv(f"RAY_TLS_{name}", str(folder / file))


def test_a_process_without_certificates_is_refused(folder, monkeypatch, tmp_path):
    check_certificates()  # no TLS
    with_tls(monkeypatch, tmp_path)
    with pytest.raises(InputError, match="RAY_TLS_SERVER_CERT = .*host.crt: no such file"):
        check_certificates()
    with_tls(monkeypatch, folder)
    check_certificates()
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o077 == 0
    (folder / "host.key").chmod(0o644)
    with pytest.raises(InputError, match="host.key: others can read the key; chmod 600"):
        check_certificates()
    (folder / "host.key").chmod(0o600)


class Denies(grpc.GenericRpcHandler):
    """Answers every call as a cluster does that wants a token."""

    def service(self, handler_call_details):
        def deny(request, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")

        return grpc.unary_unary_rpc_method_handler(deny)


def test_a_cluster_with_tls_is_asked_with_certificates(folder, monkeypatch):
    files = [(folder / name).read_bytes() for name in ("host.key", "host.crt", "ca.crt")]
    credentials = grpc.ssl_server_credentials([(files[0], files[1])], files[2], True)
    server = grpc.server(ThreadPoolExecutor(2), handlers=[Denies()])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        with pytest.raises(InputError, match="one with TLS answers those alone who have"):
            answers_without_token(f"127.0.0.1:{port}")
        with_tls(monkeypatch, folder)
        assert not answers_without_token(f"127.0.0.1:{port}")
    finally:
        server.stop(None)
