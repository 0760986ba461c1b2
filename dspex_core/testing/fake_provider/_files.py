"""OpenAI's files: uploaded, listed, read and deleted."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._exchange import Refusal

_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


@dataclass(frozen=True)
class StoredFile:
    """A file, as it was uploaded."""

    file_id: str
    name: str
    purpose: str
    content: bytes
    created: int

    def document(self) -> dict[str, Any]:
        """The file as the API describes it."""
        return {
            "id": self.file_id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created,
            "expires_at": None,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


@dataclass
class Files:
    """The files of one provider. Belongs to one event loop."""

    _files: dict[str, StoredFile] = field(default_factory=dict[str, StoredFile])
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def content(self, file_id: str) -> bytes | None:
        """A file's content; None if there is no such file."""
        found = self._files.get(file_id)
        return None if found is None else found.content

    def add(self, name: str, purpose: str, content: bytes) -> StoredFile:
        """Keep a file."""
        stored = StoredFile(f"file-{next(self._numbers):024d}", name, purpose, content, int(time.time()))
        self._files[stored.file_id] = stored
        return stored

    def routes(self) -> list[web.RouteDef]:
        """The endpoints under /v1/files."""
        return [
            web.post("/v1/files", self._upload),
            web.get("/v1/files", self._list),
            web.get("/v1/files/{id}", self._get),
            web.get("/v1/files/{id}/content", self._read),
            web.delete("/v1/files/{id}", self._delete),
        ]

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        upload, purpose = form.get("file"), form.get("purpose")
        if not isinstance(upload, FileField):
            return _openai.refuse(Refusal(400, "'file' is a required property", param="file"))
        if purpose not in _PURPOSES:
            return _openai.refuse(Refusal(400, f"'purpose' must be one of {', '.join(_PURPOSES)}", param="purpose"))
        content = upload.file.read()
        if purpose == "fine-tune" and not upload.filename.endswith(".jsonl"):
            text = f"Invalid file format for Fine-Tuning API. Must be .jsonl, not {upload.filename}"
            return _openai.refuse(Refusal(400, text, param="file"))
        if not content:
            return _openai.refuse(Refusal(400, "The file is empty.", param="file"))
        return web.json_response(self.add(upload.filename, str(purpose), content).document())

    async def _list(self, request: web.Request) -> web.StreamResponse:
        purpose = request.query.get("purpose")
        found = [each.document() for each in self._files.values() if purpose in (None, each.purpose)]
        newest_first = request.query.get("order", "desc") == "desc"
        return page(found[::-1] if newest_first else found, request)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        found = self._found(request)
        return web.json_response(found.document()) if isinstance(found, StoredFile) else found

    async def _read(self, request: web.Request) -> web.StreamResponse:
        found = self._found(request)
        return web.Response(body=found.content) if isinstance(found, StoredFile) else found

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        found = self._found(request)
        if not isinstance(found, StoredFile):
            return found
        del self._files[found.file_id]
        return web.json_response({"id": found.file_id, "object": "file", "deleted": True})

    def _found(self, request: web.Request) -> StoredFile | web.Response:
        file_id = request.match_info["id"]
        missing = Refusal(404, f"No such File object: {file_id}", param="id")
        return self._files.get(file_id) or _openai.refuse(missing)


def page(documents: Sequence[dict[str, Any]], request: web.Request) -> web.Response:
    """One page of a list, as OpenAI's API gives it: `limit` of them, from the one behind `after` on."""
    ids = [document["id"] for document in documents]
    after = request.query.get("after")
    start = ids.index(after) + 1 if after in ids else 0
    limit = int(request.query.get("limit", "20"))
    shown = documents[start : start + limit]
    return web.json_response(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": start + limit < len(documents),
        }
    )
