"""Notes behind FastAPI, with the engine on its event loop: no request waits for another one's disk.

uvicorn --app-dir examples fastapi_embedded:app

    curl -X PUT localhost:8000/notes/milk -H 'content-type: application/json' -d '{"text": "two bottles"}'
    curl localhost:8000/notes
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request

import flin.engine.aio

PATH = os.environ.get("NOTES", "notes")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with await flin.engine.aio.open(PATH, sync="always") as db:
        yield {"db": db}


app = FastAPI(lifespan=lifespan)


@app.put("/notes/{name}", status_code=204)
async def write(name: str, note: dict[str, str], request: Request) -> None:
    """The answer leaves when the note is on the disk; requests that write at the same time share a sync."""
    await request.state.db.put(b"note:" + name.encode(), json.dumps(note).encode())


@app.get("/notes/{name}")
async def read(name: str, request: Request) -> dict[str, str]:
    found = await request.state.db.get(b"note:" + name.encode())
    if found is None:
        raise HTTPException(404)
    note: dict[str, str] = json.loads(found)
    return note


@app.get("/notes")
async def read_all(request: Request) -> dict[str, Any]:
    found = request.state.db.scan(prefix=b"note:")
    return {key.removeprefix(b"note:").decode(): json.loads(note) async for key, note in found}
