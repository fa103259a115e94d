"""engine.batch=write|submit|collect: the requests of a run as batches in OpenAI's form, for less, within a day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.clients.batch_files import BatchOutput, BatchRequest, RequestFile, read_output, write_requests
from evalkit.clients.batch_service import BatchService, Receipt, read_receipts
from evalkit.clients.file_server import FileServer
from evalkit.clients.redaction import Redact
from evalkit.clients.response import CallFailed, Reply
from evalkit.core import console
from evalkit.core.errors import ConfigError, EngineError, Partial
from evalkit.core.types import Prediction, Request
from evalkit.engines import chat_format
from evalkit.engines.loaded_model import failed_prediction, prediction_of_error
from evalkit.engines.preprocess import SAMPLE_FAULTS, group_by_image

FOLDER = "server-batch"
# Predictions that are handed on together.
AT_ONCE = 500

MakeBody = Callable[[Request, Sequence[str]], dict[str, Any]]


class ServerBatch:
    """The batches of one run.

    Args:
        run: the run's folder.
        connect: connects to the server, within the current event loop.
        redact: replaces the key in texts.
        body: makes a request's JSON from its images as data URLs.
        count: told of every reply.
        max_pixels: see `data_urls`.
    """

    def __init__(
        self,
        run: Path | None,
        connect: Callable[[], FileServer],
        redact: Redact,
        body: MakeBody,
        count: Callable[[Reply], None],
        max_pixels: int | None,
    ) -> None:
        if run is None:
            raise ConfigError("engine.batch needs the folder of a run; it works with the verb `run` alone.")
        self.folder = run / FOLDER
        self.connect, self.redact, self.body = connect, redact, body
        self.count, self.max_pixels = count, max_pixels

    def generate(self, mode: str, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """Write, submit or collect; yields the predictions that a batch has brought.

        Raises:
            Partial: requests wait for their replies.
            EngineError: the batch service refuses them, or is not reachable.
        """
        if mode == "collect":
            yield from self._collect(requests)
            return
        unusable = list[Prediction]()
        files = self._write(self._open_requests(requests), unusable)
        n = sum(len(file.keys) for file in files)
        if unusable:
            yield unusable
        if mode == "submit" and files:
            made = self._call(lambda service: service.submit(files))
            raise Partial(
                f"{n} requests were submitted in {len(made)} batches ({', '.join(str(r.id) for r in made)}). Fetch "
                "their answers with the same command and engine.batch=collect, within a day as a rule."
            )
        if files:
            raise Partial(
                f"{n} requests are written to {', '.join(str(file.path) for file in files[:3])}. Submit them to a "
                f"batch service, put its output files (.jsonl) into {self.folder}, and give the same command with "
                "engine.batch=collect; engine.batch=submit does the first step by itself."
            )
        if len(unusable) < len(requests):
            raise Partial(
                "every request was already submitted; fetch the answers with the same command and engine.batch=collect."
            )

    def _open_requests(self, requests: Sequence[Request]) -> list[Request]:
        """The requests that no batch has: neither one that has not ended, nor one whose reply waits to be collected."""
        receipts = read_receipts(self.folder)
        taken = {key for receipt in receipts if not receipt.is_collected for key in receipt.keys}
        if self.folder.is_dir():
            taken |= read_output(self.folder, {r.fingerprint for r in requests}, self.redact).replies.keys()
        return [request for request in requests if request.fingerprint not in taken]

    def _write(self, requests: Sequence[Request], unusable: list[Prediction]) -> list[RequestFile]:
        """Write the request files; requests whose images cannot be read become failed predictions."""

        def bodies() -> Iterator[BatchRequest]:
            for group in group_by_image(requests):
                try:
                    urls = chat_format.data_urls(group[0].images, self.max_pixels)
                except SAMPLE_FAULTS as problem:
                    unusable.extend(prediction_of_error(request, problem) for request in group)
                    continue
                for request in group:
                    yield BatchRequest(request.fingerprint, self.body(request, urls))

        return write_requests(self.folder, bodies())

    def _collect(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        wanted = {request.fingerprint: request for request in requests}
        receipts = self._call(lambda service: service.collect()) if read_receipts(self.folder) else []
        latest = {key: receipt for receipt in receipts for key in receipt.keys}
        output = self._output(wanted)
        if output.n_unknown and not receipts:
            console.warn(f"{output.n_unknown} lines of the output in {self.folder} belong to other requests")
        waiting, batch = [], list[Prediction]()
        for key, request in wanted.items():
            if (prediction := self._prediction(request, output, latest.get(key))) is None:
                waiting.append(key)
                continue
            batch.append(prediction)
            if len(batch) == AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch
        if waiting:
            states = "; ".join(r.sentence() for r in receipts if not r.is_collected)
            told = f" ({states})" if states else f": no output file in {self.folder} has them"
            raise Partial(
                f"{len(waiting)} of {len(requests)} requests have no reply yet{told}. The others are kept; give the "
                "same command again later, or submit what is missing with engine.batch=submit."
            )

    def _output(self, wanted: dict[str, Request]) -> BatchOutput:
        if not self.folder.is_dir():
            return BatchOutput(replies={}, failures={}, n_unknown=0)
        return read_output(self.folder, wanted, self.redact)

    def _prediction(self, request: Request, output: BatchOutput, receipt: Receipt | None) -> Prediction | None:
        """The prediction of a request; None while it waits for its batch."""
        key = request.fingerprint
        if (reply := output.replies.get(key)) is not None:
            self.count(reply)
            return chat_format.prediction_of(request, reply, ["200"])
        if receipt is not None and not receipt.is_collected:
            return None
        why = output.failures.get(key)
        if why is None and receipt is not None:
            why = f"the batch ended without a reply ({receipt.sentence()})"
        return None if why is None else failed_prediction(request, why, [])

    def _call(self, action: Callable[[BatchService], Any]) -> Any:
        """Run an action of the batch service.

        Raises:
            EngineError: it failed.
        """

        async def run() -> Any:
            server = self.connect()
            try:
                return await action(BatchService(server, self.folder))
            finally:
                await server.close()

        try:
            return asyncio.run(run())
        except CallFailed as problem:
            raise EngineError(
                f"The batch service failed: {problem}. What was submitted is listed in {self.folder}/batches.json; the "
                "same command goes on from there. Where the server has no batches, use engine.batch=write."
            ) from problem
