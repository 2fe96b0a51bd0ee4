"""An application of FastAPI with sse-starlette, whose lines end with CRLF, on uvicorn. README.md beside this file says what
applications serve."""

import asyncio
import json

from fastapi import FastAPI, Request, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from sse_starlette import EventSourceResponse

import asgi

app = FastAPI()
app.add_middleware(GZipMiddleware)
waiting: list[asyncio.Future] = []


async def step():
    turn = asyncio.get_running_loop().create_future()
    waiting.append(turn)
    await turn


def event(k):
    return {"id": str(k), "data": f"event {k}: grüße 🦜"}


def stream(events):
    return EventSourceResponse(events, headers={"Access-Control-Allow-Origin": "*"})


@app.get("/events")
async def events(n: int, gap: int):
    async def each():
        for k in range(n):
            if k > 0:
                await asyncio.sleep(gap / 1000)
            yield event(k)

    return stream(each())


@app.get("/steps")
async def steps(n: int):
    async def each():
        for k in range(n):
            await step()
            yield event(k)
        await step()

    return stream(each())


@app.post("/step")
async def go():
    if not waiting:
        return Response(status_code=409)
    waiting.pop(0).set_result(None)
    return Response(status_code=204)


@app.get("/forever")
async def forever():
    async def each():
        try:
            yield event(0)
            await asyncio.Future()
        finally:
            print("gone", flush=True)

    return stream(each())


@app.get("/never")
async def never(request: Request):
    print("asked", flush=True)
    while not await request.is_disconnected():
        await asyncio.sleep(0.02)
    print("gone", flush=True)


@app.post("/llm")
async def llm(request: Request):
    prompt = (await request.json())["prompt"]

    async def each():
        for word in prompt.split(" "):
            await step()
            yield {"data": json.dumps({"choices": [{"delta": {"content": word}}]})}
        yield {"data": "[DONE]"}

    return stream(each())


@app.get("/page")
async def page():
    response = JSONResponse({"page": "x" * 1024})
    response.set_cookie("first", "1", httponly=True)
    response.set_cookie("second", "2")
    return response


@app.post("/echo")
async def echo(request: Request):
    return Response(await request.body(), media_type=request.headers["Content-Type"])


@app.get("/big")
async def big():
    async def blocks():
        for block in range(64):
            yield "".join(f"{line:07}\n" for line in range(block * 8192, (block + 1) * 8192))

    return StreamingResponse(blocks(), media_type="application/octet-stream")


asgi.serve(app)
