"""Certificates of the tests' own servers, made with the openssl program."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

CONFIG = """
[ca]
default_ca = here
[here]
dir = {folder}
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
[any]
commonName = supplied
[more]
subjectAltName = {names}
basicConstraints = critical, CA:TRUE
"""


def self_signed(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1", end: str = "20491231000000Z") -> Path:
    """A certificate and its key in one PEM file, valid for names from 2020 until an end; skips without openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    folder.mkdir(parents=True)
    (folder / "index.txt").touch()
    (folder / "serial").write_text("01\n")
    (folder / "config").write_text(CONFIG.format(folder=folder, names=names))
    key, request, certificate = folder / "key.pem", folder / "request.pem", folder / "certificate.pem"
    _openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=tests")
    dates = ("-startdate", "20200101000000Z", "-enddate", end)
    own = ("-selfsign", "-keyfile", key, "-config", folder / "config", "-extensions", "more", "-batch", "-notext")
    _openssl("ca", *own, *dates, "-in", request, "-out", certificate)
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return both


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def context(pem: Path) -> ssl.SSLContext:
    """The side of a server."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pem)
    return made
