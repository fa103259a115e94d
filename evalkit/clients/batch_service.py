"""Batch services in OpenAI's form: upload of request files, and the download of what came back.

The folder's `batches.json` lists every batch that was submitted, with the keys of its requests, so that nothing is
submitted twice and a stopped command goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evalkit.clients.batch_files import ENDPOINT, RequestFile
from evalkit.clients.file_server import FileServer
from evalkit.clients.response import CallFailed
from evalkit.core.errors import StoreError
from evalkit.core.files import naming, read_json, write_json

RECEIPTS = "batches.json"
# Statuses in which a batch has ended, with or without replies.
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
# Bytes of an output file; 50,000 replies of some thousand tokens each have less.
MAX_OUTPUT_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A batch that was submitted.

    id: None while it is not created, although its file is uploaded.  keys: of its requests.  status: as the service
    says.  is_collected: its output is in the folder.  why: the service's reason why it failed.
    """

    id: str | None
    input_file_id: str
    keys: tuple[str, ...]
    status: str = "uploaded"
    is_collected: bool = False
    why: str = ""
    counts: Mapping[str, Any] | None = None

    def sentence(self) -> str:
        """The batch and its state, for the user."""
        counts = self.counts or {}
        done, total = counts.get("completed"), counts.get("total")
        progress = f", {done} of {total} requests done" if isinstance(done, int) and isinstance(total, int) else ""
        return f"{self.id or self.input_file_id}: {self.status}{progress}{f' ({self.why})' if self.why else ''}"


def read_receipts(folder: Path) -> list[Receipt]:
    """The batches that were submitted from a folder.

    Raises:
        StoreError: their file is damaged.
    """
    path = folder / RECEIPTS
    if not path.is_file():
        return []
    try:
        entries = read_json(path, "list of batches")["batches"]
        return [Receipt(**{**entry, "keys": tuple(entry["keys"])}) for entry in entries]
    except (KeyError, TypeError, AttributeError) as problem:
        raise StoreError(
            f"{path} is damaged ({type(problem).__name__}): it lists the batches that were submitted. Restore it "
            "from a copy, or remove it to submit everything anew, which is paid anew."
        ) from None


@dataclass(slots=True)
class BatchService:
    """The batches of one folder on one server."""

    server: FileServer
    folder: Path

    def _write(self, receipts: Sequence[Receipt]) -> None:
        write_json(self.folder / RECEIPTS, {"batches": [asdict(receipt) for receipt in receipts]})

    async def submit(self, files: Sequence[RequestFile]) -> list[Receipt]:
        """Upload request files and create a batch for each; each step is on disk before the next one.

        Raises:
            CallFailed: the service refuses a file or a batch, or is not reachable.
        """
        made: list[Receipt] = []
        for file in files:
            content = {"purpose": "batch"}
            uploaded = await self.server.post("/files", content, file.path)
            receipt = Receipt(id=None, input_file_id=_text(uploaded, "id"), keys=tuple(file.keys))
            body = {"input_file_id": receipt.input_file_id, "endpoint": ENDPOINT, "completion_window": "24h"}
            created = await self.server.post("/batches", body)
            receipt = replace(receipt, id=_text(created, "id"), status=str(created.get("status") or "validating"))
            self._write([*read_receipts(self.folder), receipt])
            made.append(receipt)
        return made

    async def collect(self) -> list[Receipt]:
        """Ask for the state of every batch, and download the output of those that have ended.

        Raises:
            CallFailed: the service is not reachable, or a file is not there.
        """
        receipts = read_receipts(self.folder)
        for place, receipt in enumerate(receipts):
            if receipt.is_collected or receipt.id is None:
                continue
            found = await self.server.get(f"/batches/{quote(receipt.id, safe='')}")
            if not isinstance(found.content, Mapping):
                reason = found.why or f"HTTP {found.status}"
                raise CallFailed(f"the batch {receipt.id} cannot be asked for ({reason})")
            receipts[place] = await self._collected(receipt, found.content)
            self._write(receipts)
        return receipts

    async def _collected(self, receipt: Receipt, found: Mapping[str, Any]) -> Receipt:
        counts = found.get("request_counts")
        state = replace(
            receipt,
            status=str(found.get("status") or "unknown"),
            counts=dict(counts) if isinstance(counts, Mapping) else None,
            why=_errors(found),
        )
        if state.status not in ENDED:
            return state
        for name in ("output", "error"):
            if isinstance(file_id := found.get(f"{name}_file_id"), str) and file_id:
                content = await self.server.download(f"/files/{quote(file_id, safe='')}/content")
                path = self.folder / f"{name}-{_safe(str(receipt.id))}.jsonl"
                with naming(path):
                    path.with_suffix(".part").write_bytes(content)
                    path.with_suffix(".part").replace(path)
        return replace(state, is_collected=True)


def _text(content: Any, key: str) -> str:
    value = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(value, str) or not value:
        raise CallFailed(f"the batch service's reply has no {key}")
    return value


def _errors(found: Mapping[str, Any]) -> str:
    """The service's words about a batch that failed as a whole."""
    errors = found.get("errors")
    listed = errors.get("data") if isinstance(errors, Mapping) else None
    messages = [e["message"] for e in listed or () if isinstance(e, Mapping) and isinstance(e.get("message"), str)]
    return " ".join("; ".join(messages).split())[:300]


def _safe(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)[:80]
