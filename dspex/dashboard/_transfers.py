"""What comes and goes as a file: data sent up, programs and reports fetched."""

import asyncio
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from dspex.dashboard._board import Board
from dspex.dashboard._uploads import ADDRESS
from dspex_core.errors import DSPExError
from dspex_core.programs import ProgramFile

EXPORT, REPORT = "/export", "/report"


def add_uploads(app: FastAPI, board: Board) -> None:
    """Take data files."""

    @app.post(ADDRESS)
    async def _(request: Request, name: str) -> Response:
        try:
            return PlainTextResponse(await board.uploads.keep(name, await request.body()))
        except DSPExError as error:
            return PlainTextResponse(str(error), status_code=400)


def add_downloads(app: FastAPI, board: Board) -> None:
    """Give out the programs that runs found, and reports of them."""

    @app.get(EXPORT + "/{run_id:path}")
    async def _(run_id: str) -> Response:
        run = board.client.get_run(run_id)
        try:
            if (await run.status()).status not in {"completed", "cancelled"}:
                return PlainTextResponse("The run has found no program yet.", status_code=409)
            output = await run.output()
        except DSPExError as error:
            return PlainTextResponse(str(error), status_code=404)
        if output.score is None:
            return PlainTextResponse("The run ended before anything was scored.", status_code=409)
        program = ProgramFile(structure=output.program.structure, state=output.program.state)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).strip("-.") or "program"
        headers = {"Content-Disposition": f'attachment; filename="{name}.json"'}
        return Response(program.model_dump_json(indent=2) + "\n", media_type="application/json", headers=headers)

    @app.get(REPORT + "/{run_id:path}")
    async def _(run_id: str) -> Response:
        with TemporaryDirectory(prefix="dspex-report-") as folder:
            path = Path(folder) / "report.html"
            run = board.client.get_run(run_id)
            try:
                status = await run.status()
                if status.status not in {"completed", "cancelled"} or status.score is None:
                    return PlainTextResponse("The run has nothing to report.", status_code=409)
                await run.report(path)
            except DSPExError as error:
                return PlainTextResponse(str(error), status_code=404)
            return HTMLResponse(await asyncio.to_thread(path.read_text, encoding="utf-8"))
