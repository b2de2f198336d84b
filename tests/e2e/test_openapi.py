"""The counter against its own document: schemathesis makes up requests, right ones and wrong ones,
and a running relay must answer each as the document says."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path as File
from typing import Any

import pytest

from relay.auth.credentials import make_key

SECONDS = 300.0
"""After which it hangs; a run takes about ten."""

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method,ignored_auth,"
    "missing_required_header"
)


@pytest.mark.slow
def test_the_counter_answers_as_its_document_says(
    running: Any, folder: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(100_000)
    monkeypatch.setenv("MOQ_MASTER_KEY", "A" * 43 + "=")
    extra = (
        f'[admin]\napi_key = "{key.hash}"\n[issuer]\nenabled = true\n'
        '[records]\nurl = "sqlite:///relay.db"\n'
    )

    async def main() -> tuple[int, str]:
        async with running(extra) as relay:
            base = f"http://127.0.0.1:{relay.http_addresses[0][1]}/admin/v1"
            program = await asyncio.create_subprocess_exec(
                *(os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run"),
                *("-H", f"Authorization: Bearer {key.bearer}", "--checks", CHECKS),
                *("--max-examples", "15", "--seed", "1", "--phases", "examples,coverage,fuzzing"),
                *("--request-timeout", "10", "--no-color", f"{base}/openapi.json"),
                cwd=folder,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                out, _ = await asyncio.wait_for(program.communicate(), SECONDS)
            finally:
                if program.returncode is None:
                    program.kill()
                    await program.wait()
            return program.returncode or 0, out.decode()

    status, said = asyncio.run(main())
    assert status == 0, "\n".join(line[:400] for line in said.splitlines()[-200:])
