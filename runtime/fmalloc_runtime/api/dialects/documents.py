"""DeepL's protocol for documents: upload, status, download; with `domain` and `again` added."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.dialects.deepl import DIALECT, check_languages
from fmalloc_runtime.api.dialects.deepl_fields import KeyFields, named_glossaries
from fmalloc_runtime.api.fields import SERVED, Flag, String
from fmalloc_runtime.api.glossaries import terms_of
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.batching.documents import DocumentJob, Documents, Upload
from fmalloc_runtime.errors import BadRequestError
from fmalloc_runtime.files.formats import format_of
from fmalloc_runtime.routing.router import AUTO
from fmalloc_runtime.text.translation import TextOptions

# How long an answer about an unfinished document is held back, in seconds.
_MOMENT = 1.0
# What a document cannot be translated by, here; the texts of requests neither.
_REFUSED = ("style_id", "translation_memory_id")
_Refused = Annotated[str | None, WithJsonSchema({"enum": [None, ""], "description": "not supported"})]
_File = Annotated[str | None, WithJsonSchema({"type": "string", "format": "binary"})]


def _with_file(schema: dict[str, Any]) -> None:
    """The file is no text field, so that it is looked for where the form is read."""
    schema["required"] = ["file", *schema["required"]]


class UploadFields(KeyFields):
    """A file to translate, as a form; unknown fields are ignored, as DeepL does."""

    model_config = ConfigDict(json_schema_extra=_with_file)

    file: _File = Field(None, description="the file with its name, whose end tells the format")
    filename: Annotated[String, Field(max_length=255)] | None = None
    target_lang: String = Field(
        min_length=1, max_length=35, description="a language code", json_schema_extra={SERVED: "deepl_targets"}
    )
    source_lang: Annotated[String, Field(max_length=35, json_schema_extra={SERVED: "deepl_sources"})] | None = None
    domain: Annotated[String, Field(json_schema_extra={SERVED: "domains"})] | None = Field(
        None, description="a domain, or auto: detected over the whole document"
    )
    again: Flag = Field(None, description="whether units that have a translation are translated again")
    formality: Literal["default", "prefer_more", "prefer_less"] | None = None
    output_format: Annotated[String, Field(max_length=35)] | None = None
    glossary_id: Annotated[String, Field(max_length=100)] | None = None
    glossary_ids: Annotated[String, Field(max_length=500, description="separated by commas")] | None = None
    style_id: _Refused = None
    translation_memory_id: _Refused = None

    def check(self, suffix: str) -> None:
        """BadRequestError for what no model here can do; `suffix`: of the file's name."""
        for name in _REFUSED:
            if getattr(self, name):
                raise BadRequestError(f"{name} is not supported here: leave it out")
        if self.output_format and f".{self.output_format.lower().lstrip('.')}" != suffix:
            raise BadRequestError(f"output_format {self.output_format!r}: formats are not converted: leave it out")


class DocumentFields(KeyFields):
    """The second name of a document, which its upload was answered with."""

    document_key: String = Field(max_length=200, description="the document_key of the upload's answer")


class UploadAnswer(BaseModel):
    """The two names of a document; whoever asks about it needs both, and the API key that it was uploaded with."""

    document_id: str
    document_key: str


class StatusAnswer(BaseModel):
    """How far a document is. `seconds_remaining`: an estimate, while it is translated; `error_message`: of an error."""

    document_id: str
    status: Literal["queued", "translating", "done", "downloaded", "error"]
    seconds_remaining: int | None = None
    billed_characters: int | None = None
    error_message: str | None = None


@dataclass(frozen=True)
class DeepLDocuments:
    """The handlers of this part of the dialect."""

    backend: Backend
    documents: Documents

    @property
    def operations(self) -> list[Operation]:
        """All operations."""
        path, fields = "/v2/document/{id}", DocumentFields
        upload = Operation(
            "POST", "/v2/document", "Upload a document", self.upload, DIALECT, UploadFields, UploadAnswer, {456, 529},
            upload=True,
        )  # fmt: skip
        return [
            upload,
            Operation("POST", path, "Status of a document", self.status, DIALECT, fields, StatusAnswer, {404}),
            Operation(
                "POST", f"{path}/result", "Download a translated document, once", self.download, DIALECT, fields, None,
                {404}, media="application/octet-stream",
            ),
        ]  # fmt: skip

    async def upload(self, request: Request) -> Response:
        """Read a file and begin with it; its domain is that of all its text."""
        settings = self.backend.settings
        size = min(settings.document_limit, settings.bodies_limit)
        wanted, file = await self.backend.read_upload(request, UploadFields, size)
        check_languages(self.backend.languages, wanted.source_lang, wanted.target_lang)
        name = (wanted.filename or file.name).replace("\\", "/").rpartition("/")[2]
        if not name:
            raise BadRequestError("file has no name: expected one whose end tells the format, such as manual.xliff")
        format_ = format_of(name)
        wanted.check(name[name.rfind(".") :].lower())
        ids = [id_.strip() for id_ in (wanted.glossary_ids or "").split(",") if id_.strip()]
        named = named_glossaries(wanted.glossary_id, ids, wanted.source_lang)
        options = TextOptions(terms=await terms_of(self.backend, request, named), search=self.backend.search())
        client = self.backend.enter(request)
        self.documents.check_room(client, len(file.content))
        upload = Upload(name, format_, file.content, wanted.domain or AUTO, options, bool(wanted.again))
        self.backend.service.registry.snapshot().router.route([], upload.domain)
        characters = (await self.documents.read(upload)).characters
        self.documents.check_room(client, len(file.content))
        self.backend.count(request, characters)
        job = self.documents.submit(client, upload, characters)
        return answer(UploadAnswer(document_id=job.id, document_key=job.key))

    async def status(self, request: Request) -> Response:
        """How far a document is, in a moment: short ones are done by then, and DeepL's client asks again in 5 s."""
        job = await self._find(request)
        await job.settle(_MOMENT)
        found = StatusAnswer(document_id=job.id, status=job.state)
        extra: dict[str, object] = {}
        if job.state in ("queued", "translating"):
            extra["seconds_remaining"] = job.seconds_remaining
        elif job.state == "error":
            extra["error_message"] = job.error
        else:
            extra["billed_characters"] = job.characters
        return answer(found.model_copy(update=extra))

    async def download(self, request: Request) -> Response:
        """The translated file, which is deleted here; 503 while it is not done."""
        job = await self._find(request)
        if job.state in ("queued", "translating"):
            raise HTTPException(503, "the document is not ready yet: ask for its status", {"Retry-After": "1"})
        if job.state != "done":
            raise HTTPException(404, job.error or "the document was downloaded already: it is not kept")
        return Response(self.documents.take(job), media_type=job.upload.format.media)

    async def _find(self, request: Request) -> DocumentJob:
        wanted = await self.backend.read(request, DocumentFields)
        client = self.backend.enter(request)
        job = self.documents.find(request.path_params["id"], wanted.document_key, client)
        if job is None:
            raise HTTPException(404, "no such document: its id, its key or the API key is another, or it is too old")
        return job
