"""`/files`: uploaded as multipart, kept in memory, active at once."""

from __future__ import annotations

import re

from .templates import document
from .values import Document, FakeReply, Memory, Received, RefusedError, Wording, json_document

_WEEK = 604_800
_NAME = re.compile(rb'[; ]name="([^"]*)"')
_FILENAME = re.compile(rb'filename="([^"]*)"')


def create(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    fields, filename, content = _parts(request)
    if filename is None and "url" not in fields:
        raise RefusedError(400, "MissingParameter.file", "The required parameter file is missing.", "file")
    file_id = f"file-{request.created}-{next(memory.numbers):05d}"
    body = document(
        "file.json",
        id=file_id,
        purpose=fields.get("purpose", "user_data"),
        filename=filename or fields["url"].rpartition("/")[2],
        bytes=len(content),
        created=request.created,
        expire_at=int(fields.get("expire_at", request.created + _WEEK)),
    )
    memory.files[file_id] = body
    memory.contents[file_id] = content
    return Document(body)


def get(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    return Document(memory.files[_named(request, memory)])


def content(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    return Document(memory.contents[_named(request, memory)], content_type="application/octet-stream")


def list_(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    # The service says "file" here, not "list".
    files = b",".join(memory.files.values())
    return Document(b'{"object":"file","data":[%s],"has_more":false}' % files)


def delete(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    name = _named(request, memory)
    del memory.files[name], memory.contents[name]
    return json_document({"id": name, "object": "file", "deleted": True})


def _named(request: Received, memory: Memory) -> str:
    name = request.path.split("/")[2]
    if name not in memory.files:
        raise RefusedError(404, "NotFound.FileID", f"The file {name} does not exist.")
    return name


def _parts(request: Received) -> tuple[dict[str, str], str | None, bytes]:
    """The text fields of a multipart body, and the file's name and content."""
    _, _, boundary = request.headers.get("content-type", "").partition("boundary=")
    if not boundary:
        raise RefusedError(400, "InvalidParameter", "The request is not multipart/form-data.")
    fields: dict[str, str] = {}
    filename, content = None, b""
    for part in request.body.split(b"--" + boundary.strip('"').encode())[1:-1]:
        head, _, body = part[2:-2].partition(b"\r\n\r\n")
        if found := _FILENAME.search(head):
            filename, content = found[1].decode(), body
        elif found := _NAME.search(head):
            fields[found[1].decode()] = body.decode()
    return fields, filename, content
