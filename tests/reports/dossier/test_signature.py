"""The signature of a dossier: minisign's own files, every byte of it, other keys."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="the extra sign")

from evalkit.cli.main import main
from evalkit.core.errors import ConfigError, DataError
from evalkit.reports.dossier import minisign
from evalkit.reports.dossier.chain import SIGNATURE, write_chain
from evalkit.reports.dossier.signature import sign_dossier, verify_signature

# Written by minisign 0.11 with a key that was thrown away: over the digest, and (-l) over the message itself.
THEIRS = minisign.read_public_key("RWRZMa6HQ7/LKHYBIM9+1QjslCSVyh7ekgCv60glCc8U5sEv62F+uw9A")
MESSAGE = b"evalkit\n"
HASHED = """untrusted comment: signature from minisign secret key
RURZMa6HQ7/LKHyNxR99UewbswRfba5gCt5QjHGpvigjr5+WFCVF1sdIPdIwwIQdUBwVLeTDRQ3yaWvgPBXnyHU6ArBhnXDTzQE=
trusted comment: by minisign 0.11
5uijbfHLsY5x0EHggXiJspu3L6hmBMNaGXgVe6Cjne+7ep/WCls+NKyEqHFPC87hv/DYUgAqGqy4Z9YtbMIbAQ==
"""
WHOLE = """untrusted comment: signature from minisign secret key
RWRZMa6HQ7/LKGodSQGaH6iSx9nSE6ExcjaDgzQclKZFWVwKmjbtiaRBeuLeK0EBaRvohSz00gHN744U8iuLT5aklazluBVhiAs=
trusted comment: legacy
9anMIzF/FGDa0Ks+FHcYG9m62gube3Xnvc8XkT2BGfbzXe5SdshPQtrGvqVNBCEE+Rv7oW9xf2zcPImzBa44Dw==
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The least that is a dossier: its record and its chain."""
    made = tmp_path / "d"
    made.mkdir()
    (made / "dossier.json").write_text(json.dumps({"run_id": "a-toy-1"}), encoding="utf-8")
    write_chain(made)
    return made


def test_what_minisign_signed_is_checked_and_nothing_else_passes() -> None:
    assert minisign.check(MESSAGE, HASHED, THEIRS) == "by minisign 0.11"
    assert minisign.check(MESSAGE, WHOLE, THEIRS) == "legacy"
    for text, message in ((HASHED, b"evalkit"), (WHOLE, b"evalkit"), (HASHED.replace("0.11", "0.12"), MESSAGE)):
        with pytest.raises(DataError, match="is not one of"):
            minisign.check(message, text, THEIRS)


def test_a_key_with_a_password_is_read_as_minisign_writes_it() -> None:
    key = minisign.new_key()
    plain = base64.b64decode(key.file.splitlines()[1])
    ops, memory, salt = 32768, 1 << 24, b"s" * 32  # minisign takes more, in the same way
    pad = hashlib.scrypt(b"pw", salt=salt, n=1024, r=8, p=1, dklen=104)
    body = bytes(a ^ b for a, b in zip(plain[54:], pad, strict=True))
    limits = ops.to_bytes(8, "little") + memory.to_bytes(8, "little")
    locked = base64.b64encode(b"EdScB2" + salt + limits + body).decode()
    assert minisign.is_encrypted(locked) and not minisign.is_encrypted(key.file)
    assert minisign.read_secret_key(locked, "pw") == minisign.read_secret_key(key.file) == key
    with pytest.raises(ConfigError, match="password"):
        minisign.read_secret_key(locked, "px")
    assert key.seed.hex() not in repr(key) and minisign.read_public_key(key.public.file) == key.public


def test_each_byte_of_a_signature_counts_and_another_key_is_refused(folder: Path) -> None:
    key, other = minisign.new_key(), minisign.new_key()
    path = sign_dossier(folder, key)
    assert "a-toy-1" in (verify_signature(folder, None) or "") and verify_signature(folder, key.public)
    with pytest.raises(DataError, match="is signed with the key"):
        verify_signature(folder, other.public)
    whole = path.read_bytes()
    for k in range(len(whole)):
        for bit in (1, 32):  # 32: another case, which base64 has too
            path.write_bytes(whole[:k] + bytes([whole[k] ^ bit]) + whole[k + 1 :])
            with pytest.raises((DataError, ConfigError)):
                verify_signature(folder, None)
    for changed in (whole[:-1], whole + b"\n", b"", whole.replace(b"\n", b"\r\n")):
        path.write_bytes(changed)
        with pytest.raises((DataError, ConfigError)):
            verify_signature(folder, None)


def test_the_verbs_sign_and_verify(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "signer.key"
    verify = ["verify", f"dossier={folder}", f"key={key}.pub"]
    assert main(["sign", f"dossier={folder}", f"key={key}"]) == 2 and "new=true" in capsys.readouterr().err
    assert main(["sign", f"dossier={folder}", f"key={key}", "new=true"]) == 0
    assert key.stat().st_mode & 0o077 == 0 and main(verify) == 0
    assert main(["sign", f"dossier={folder}", f"key={key}"]) == 2 and "is signed" in capsys.readouterr().err
    # Made anew, chain and all, by someone without the key; with the old signature, with one of his own, with none.
    again = shutil.copytree(folder, tmp_path / "again")
    (again / "dossier.json").write_text(json.dumps({"run_id": "a-toy-2"}), encoding="utf-8")
    write_chain(again)
    verify[1] = f"dossier={again}"
    assert main(verify) == 2 and "is not what was signed" in capsys.readouterr().err
    (again / SIGNATURE).unlink()
    sign_dossier(again, minisign.new_key())
    assert main(verify) == 2 and "is signed with the key" in capsys.readouterr().err
    (again / SIGNATURE).unlink()
    assert main(verify) == 2 and "is not signed" in capsys.readouterr().err
    assert main(verify[:2]) == 0


def test_without_the_extra_a_signature_is_not_said_to_be_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_dossier(folder, minisign.new_key())
    monkeypatch.setattr(minisign, "find_spec", lambda name: None)
    assert main(["verify", f"dossier={folder}"]) == 3
    assert "was not checked" in capsys.readouterr().err
