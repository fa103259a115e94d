"""Signatures and keys in the files of minisign: Ed25519 over BLAKE2b-512, each file a comment and a line of base64.

minisign itself checks what is signed here, and the other way round.  Ed25519 is that of `cryptography`, the extra
`sign`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from evalkit.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

COMMENT, TRUSTED = "untrusted comment: ", "trusted comment: "
# The first line of a signature, which nothing protects: ours, and what minisign and rsign write unless told otherwise.
FIRST_LINES = (
    f"{COMMENT}signature from evalkit",
    f"{COMMENT}signature from minisign secret key",
    f"{COMMENT}signature from rsign secret key",
)
# Of keys; of signatures over a message's digest, and over the message itself as early versions of minisign made them.
KEY, PREHASHED, LEGACY = b"Ed", b"ED", b"Ed"
SCRYPT, PLAIN, BLAKE = b"Sc", b"\0\0", b"B2"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """key_id: 8 bytes.  key: 32 bytes."""

    key_id: bytes
    key: bytes

    @property
    def text(self) -> str:
        """The line of base64, which minisign takes with -P."""
        return base64.b64encode(KEY + self.key_id + self.key).decode()

    @property
    def file(self) -> str:
        """The content of a key's file."""
        return f"{COMMENT}minisign public key {shown_id(self.key_id)}\n{self.text}\n"


@dataclass(frozen=True, slots=True)
class SecretKey:
    """key_id: 8 bytes.  seed: 32 bytes.  Never shown."""

    key_id: bytes
    seed: bytes

    def __repr__(self) -> str:
        return f"SecretKey({shown_id(self.key_id)})"

    @property
    def public(self) -> PublicKey:
        """The key that checks its signatures."""
        return PublicKey(self.key_id, _private(self.seed).public_key().public_bytes_raw())

    @property
    def file(self) -> str:
        """The content of a key's file without a password; `minisign -C` sets one."""
        body = self.key_id + self.seed + self.public.key
        check = hashlib.blake2b(KEY + body, digest_size=32).digest()
        packed = KEY + PLAIN + BLAKE + bytes(48) + body + check
        return f"{COMMENT}minisign secret key\n{base64.b64encode(packed).decode()}\n"


def shown_id(key_id: bytes) -> str:
    """A key's id as minisign shows it."""
    return key_id[::-1].hex().upper()


def require() -> None:
    """Raise ConfigError without the package of the extra."""
    if find_spec("cryptography") is None:
        raise ConfigError(
            "Signatures need the package cryptography, which this environment lacks: "
            "pip install 'evalkit-medvqa[sign]'."
        )


def new_key() -> SecretKey:
    """A key by the system's random numbers."""
    return SecretKey(os.urandom(8), os.urandom(32))


def read_public_key(text: str) -> PublicKey:
    """A public key from its line of base64, or from the content of its file.

    Raises:
        ConfigError: it is none.
    """
    packed = _decoded(text.strip().splitlines()[-1] if text.strip() else "")
    if len(packed) != 42 or packed[:2] != KEY:
        raise ConfigError("This is no public key of minisign; expected its file (*.pub), or its line of 56 characters.")
    return PublicKey(packed[2:10], packed[10:])


def is_encrypted(text: str) -> bool:
    """Whether the content of a secret key's file needs a password."""
    return _secret(text)[2:4] == SCRYPT


def read_secret_key(text: str, password: str | None = None) -> SecretKey:
    """A secret key from the content of its file.

    Raises:
        ConfigError: it is none, or the password is another.
    """
    packed = _secret(text)
    body = packed[54:]
    if packed[2:4] == SCRYPT:
        ops, memory = (int.from_bytes(packed[k : k + 8], "little") for k in (38, 46))
        pad = _scrypt((password or "").encode(), packed[6:38], ops, memory, len(body))
        body = bytes(a ^ b for a, b in zip(body, pad, strict=True))
    if hashlib.blake2b(KEY + body[:72], digest_size=32).digest() != body[72:]:
        raise ConfigError("The secret key cannot be read: the password is another one, or the file was changed.")
    found = SecretKey(body[:8], body[8:40])
    if found.public.key != body[40:72]:
        raise ConfigError("The secret key is damaged: its two halves do not belong together.")
    return found


def sign(message: bytes, key: SecretKey, comment: str) -> str:
    """The content of a signature's file.

    Args:
        comment: one line, which the signature covers.
    """
    private = _private(key.seed)
    signature = private.sign(hashlib.blake2b(message).digest())
    over_all = private.sign(signature + comment.encode())
    return _file(FIRST_LINES[0], PREHASHED + key.key_id + signature, comment, over_all)


def trusted_comment(text: str) -> str:
    """The comment in a signature's file that the signature covers, before it is checked."""
    return _parsed(text)[2]


def check(message: bytes, text: str, key: PublicKey) -> str:
    """Check the content of a signature's file; returns the comment that it covers.

    Raises:
        DataError: it is no signature of this message by this key, or a byte of its file was changed.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    first, packed, comment, over_all = _parsed(text)
    if _file(first, packed, comment, over_all) != text or first not in FIRST_LINES:
        raise DataError("the signature is not in the form in which it is written: it was changed")
    if packed[2:10] != key.key_id:
        raise DataError(f"it is signed with the key {shown_id(packed[2:10])}, and not with {shown_id(key.key_id)}")
    signed = hashlib.blake2b(message).digest() if packed[:2] == PREHASHED else message
    public = Ed25519PublicKey.from_public_bytes(key.key)
    try:
        public.verify(packed[10:], signed)
        public.verify(over_all, packed[10:] + comment.encode())
    except InvalidSignature:
        raise DataError(f"the signature is not one of {shown_id(key.key_id)} over this content") from None
    return comment


def _private(seed: bytes) -> Ed25519PrivateKey:
    require()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def _file(first: str, packed: bytes, comment: str, over_all: bytes) -> str:
    lines = (first, base64.b64encode(packed).decode(), TRUSTED + comment, base64.b64encode(over_all).decode())
    return "\n".join(lines) + "\n"


def _parsed(text: str) -> tuple[str, bytes, str, bytes]:
    """First line, signature with algorithm and key id, trusted comment, signature over both."""
    lines = text.split("\n")
    if len(lines) == 5 and lines[2].startswith(TRUSTED):
        packed, over_all = _decoded(lines[1]), _decoded(lines[3])
        if len(packed) == 74 and len(over_all) == 64 and packed[:2] in (PREHASHED, LEGACY):
            return lines[0], packed, lines[2].removeprefix(TRUSTED), over_all
    raise DataError("the signature's file is none of minisign's: four lines, the second and the fourth base64")


def _secret(text: str) -> bytes:
    packed = _decoded(text.strip().splitlines()[-1] if text.strip() else "")
    known = packed[:2] == KEY and packed[2:4] in (SCRYPT, PLAIN) and packed[4:6] == BLAKE
    if len(packed) != 158 or not known:
        raise ConfigError("This is no secret key of minisign; expected the file that `minisign -G` or new=true wrote.")
    return packed


def _decoded(line: str) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _scrypt(password: bytes, salt: bytes, ops: int, memory: int, length: int) -> bytes:
    """scrypt with the parameters that libsodium takes for these limits; about 1 GiB for minisign's own."""
    ops = max(32768, ops)
    p = 1
    if ops < memory // 32:
        n_log2 = _fitting(ops // 32)
    else:
        n_log2 = _fitting(memory // 1024)
        p = max(1, min(0x3FFFFFFF, (ops // 4) >> n_log2) // 8)
    if n_log2 > 21:
        raise ConfigError("The secret key asks for more memory than any that minisign writes; it was changed.")
    most = (1 << n_log2) * 1024 + p * 1024 + (1 << 20)
    return hashlib.scrypt(password, salt=salt, n=1 << n_log2, r=8, p=p, maxmem=most, dklen=length)


def _fitting(most: int) -> int:
    return next(k for k in range(1, 63) if 1 << k > most // 2)
