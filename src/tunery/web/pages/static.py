"""Static files under URLs that depend on their content, and which version is served.

No login: the login page needs its stylesheet. Only names in the bundle exist, so a path cannot lead
anywhere else.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tunery.web import assets

FOR_EVER = "public, max-age=31536000, immutable"
router = APIRouter(include_in_schema=False)


@router.get("/static/version")
def version() -> Response:
    """Return the version of the files; a page compares it after a reconnect."""
    return JSONResponse({"version": assets.bundle().version}, headers={"Cache-Control": "no-store"})


@router.get("/static/{version}/{name:path}")
def static(version: str, name: str, request: Request) -> Response:
    """Return one file; an old version's URL returns the current file, which is not cached."""
    bundle = assets.bundle()
    found = bundle.files.get(name)
    if found is None:
        return PlainTextResponse("not found", 404, {"Cache-Control": "no-store"})
    headers = {
        "Cache-Control": FOR_EVER if version == bundle.version else "no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    body = found.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"], body = "gzip", found.gzipped
    return Response(body, headers=headers, media_type=found.media_type)
