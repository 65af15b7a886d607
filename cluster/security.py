"""Who may give orders to a cluster: those who hold its token, or nobody; and TLS."""

import ipaddress
import os
import secrets
import stat
from pathlib import Path

import grpc
from ray._common.tls_utils import load_certs_from_env
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from configs.errors import InputError

_PROBE_S = 5.0


def own_token() -> None:
    """A token for Ray nodes that this process starts, unless it was given one.

    It is in the environment of these processes alone, which only their user can read.
    """
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def check_token_file() -> None:
    """Raises InputError when the token is missing, or when others than its owner can read it."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return  # the cluster itself is asked whether it does without
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}: a cluster is joined with its token; copy it from there "
            "(`ray get-auth-token` prints it), or name its file in RAY_AUTH_TOKEN_PATH"
        ) from error
    if mode & 0o077:
        raise InputError(f"{path}: mode {mode:o}: others can read the token; chmod 600 {path}")


def uses_tls() -> bool:
    return os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true")


def check_certificates() -> None:
    """Raises InputError when this process is to speak TLS and lacks what it takes."""
    if not uses_tls():
        return
    for name in ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"):
        path = Path(os.environ.get(name, ""))
        if not path.is_file():
            raise InputError(
                f"{name} = {path}: no such file; with RAY_USE_TLS every process names the files "
                "that cluster/certificates.sh made on its host (docs/security.md)"
            )
        if name == "RAY_TLS_SERVER_KEY" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise InputError(f"{path}: others can read the key; chmod 600 {path}")


def check_closed(address: str) -> None:
    """Raises InputError when a cluster on a network takes orders from anyone."""
    if not is_loopback(address.rsplit(":", 1)[0]) and answers_without_token(address):
        raise InputError(
            f"the cluster at {address} runs code for whoever reaches it: start every node of it "
            "with RAY_AUTH_MODE=token, as cluster/*.yaml do (docs/security.md), or bind it to "
            "127.0.0.1"
        )


def answers_without_token(address: str) -> bool:
    """Whether the GCS at host:port answers a caller that holds no token.

    Raises InputError when nothing answers there.
    """
    with _channel(address) as channel:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            request = gcs_service_pb2.GetAllNodeInfoRequest()  # pyrefly: ignore[missing-attribute]
            stub.GetAllNodeInfo(request, timeout=_PROBE_S)
        except grpc.RpcError as error:
            code = error.code()  # pyrefly: ignore[missing-attribute]
            if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return False
            raise InputError(
                f"no Ray cluster answers at {address} ({code.name}); give another --address, or "
                "--address local for hosts on this machine; one with TLS answers those alone who "
                "have RAY_USE_TLS and its certificates (docs/security.md)"
            ) from error
    return True


def _channel(address: str) -> grpc.Channel:
    options = [("grpc.enable_http_proxy", 0)]
    if not uses_tls():
        return grpc.insecure_channel(address, options=options)
    certificate, key, authority = load_certs_from_env()
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    return grpc.secure_channel(address, credentials, options=options)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
