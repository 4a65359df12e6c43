"""Uploads: what clients send and get, in the photo dialect and in v1."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, RootModel

from common.web import Model, Moment, Query, Whole

FILES_MAX = 50

SubDir = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_/-]*$")]
"""Where a client would like a file to lie. It lies where its bytes say, so this is checked and otherwise ignored."""


class FileForm(Model):
    """One picture as a form."""

    file: bytes
    subDir: str = Field(default="", description="ignored")


class FilesForm(Model):
    """Several of them."""

    files: list[bytes] = Field(min_length=1, max_length=FILES_MAX)
    subDir: str = Field(default="", description="ignored")


class Bytes(RootModel[bytes]):
    """A file as it is."""


class UploadedFile(Model):
    """A stored upload; `file_hash` is the MD5 of the stored bytes, which are not the sent ones."""

    file_name: str
    file_url: str
    file_path: str
    file_size: int
    mime_type: str
    file_hash: str


class UploadedFiles(Model):
    """`data` of several uploads, in the order they were sent."""

    files: list[UploadedFile]


class TextUpload(Model):
    """A picture as text: a data URL, or bare base64."""

    base64: str = Field(min_length=1)
    subDir: SubDir = ""


class TextUploads(Model):
    """Several of them."""

    images: list[str] = Field(min_length=1, max_length=FILES_MAX)
    subDir: SubDir = ""


class UploadedText(Model):
    """What the dialect calls the same when it came as text."""

    fileName: str
    filePath: str
    fileUrl: str
    fileSize: int
    mimeType: str
    file_hash: str


class TextFailure(Model):
    """Why one of several was not taken; `index` is its place among those sent."""

    index: int
    code: int
    message: str


class Summary(Model):
    """How many were sent, stored and refused."""

    total: int
    success: int
    failed: int


class UploadedTexts(Model):
    """`data` of several pictures sent as text: those that were stored, and what became of the others."""

    files: list[UploadedText]
    errors: list[TextFailure]
    summary: Summary


class SubDirQuery(Query):
    """Where a client believes its file to lie; ignored."""

    subDir: SubDir = ""


class NewDirectUpload(Model):
    """A file that a client will put into the store itself: exactly so many bytes."""

    size_bytes: Whole = Field(ge=1, le=1024**3)


class DirectUpload(Model):
    """Where to put it: `PUT url` with these headers and the announced number of bytes before `expires_at`, then complete it."""

    upload_id: UUID
    method: str
    url: str
    headers: dict[str, str]
    key: str
    size_bytes: int
    expires_at: Moment


class IncomingQuery(Query):
    """What a link to put a file says of itself."""

    size: int = Field(ge=1, le=1024**3)
    exp: str = Field(max_length=12)
    sig: str = Field(max_length=64)
