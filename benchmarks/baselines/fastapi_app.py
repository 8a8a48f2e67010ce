"""FastAPI under uvicorn, which answers one request after another: no batches.

    python -m benchmarks.baselines.fastapi_app PORT MODEL...

POST takes the raw bytes of one row and answers the raw bytes of its output.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI, Request, Response

from benchmarks.baselines.device import Device
from benchmarks.baselines.model import Model


def application(model: Model) -> FastAPI:
    """The app, with the device opened."""
    device = Device(model)
    thread = ThreadPoolExecutor(1)  # the device takes one call at a time
    app = FastAPI()

    async def infer(request: Request) -> Response:
        row = await request.body()
        output = await asyncio.get_running_loop().run_in_executor(thread, device.run, [row])
        return Response(output[0], media_type="application/octet-stream")

    # FastAPI reads the annotations of a route; those of a nested function are strings here.
    infer.__annotations__ = {"request": Request}
    app.add_api_route("/", infer, methods=["POST"], response_class=Response)
    return app


if __name__ == "__main__":
    uvicorn.run(
        application(Model.of_words(sys.argv[2:])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=False,
        log_level="warning",
    )
