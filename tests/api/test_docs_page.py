"""`/docs` works without any other server: all that it names is here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import urljoin

import httpx
import pytest

from api.app import create_app

HERE = "http://tenuto"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app()), base_url=HERE) as http:
        yield http


async def test_the_page_names_no_other_host(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text)
    assert '"validatorUrl": null' in page.text, "else the document is sent to one"


async def test_all_that_the_page_names_is_served_also_below_a_path_of_a_proxys(
    http: httpx.AsyncClient,
) -> None:
    text = (await http.get("/docs")).text
    named = re.findall(r"(?:href|src)=\"([^\"]+)\"|url: '([^']+)'", text)
    addresses = [one or other for one, other in named if not one.startswith("data:")]
    assert len(addresses) == 3
    for address in addresses:
        asked = urljoin(f"{HERE}/below/docs", address)
        assert asked.startswith(f"{HERE}/below/")
        answer = await http.get(asked.replace("/below", ""))
        assert answer.status_code == 200, address
        assert len(answer.content) > 10_000, address


async def test_a_file_that_is_not_there_is_a_problem(http: httpx.AsyncClient) -> None:
    answer = await http.get("/docs/files/nothing.js")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
