"""Every document that the product writes, from a first start to a forget, fits the validator of its collection."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from journeys_cli.seed import seed
from journeys_client import Client
from services import all_in_one
from services.infra.documents.port import Collection, Delete, Write
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.settings import ServeSettings
from tests.support.bson_schema import faults, stored

TOKEN = "a-session-of-the-test"
KEY = "a-key-of-the-test"


def use(url: str) -> None:
    """Author, run, look, and forget: in a thread, as a client would."""
    with Client(url, session=TOKEN, transport=httpx2.HTTPTransport()) as client:
        journey = seed(client).journey_id
        assert journey is not None
        client.suppressions.put("bounced@example.com", reason="bounced")
        client.api_keys.create("machine")
        client.members.create(email="ed@example.com", role="editor", password="a long password")
        client.journeys.archive(journey)
    with httpx2.Client(base_url=url, headers={"Cookie": f"session={TOKEN}"}) as plain:
        audience = {"name": "All", "kind": "predicate", "predicate": {"kind": "all", "of": []}}
        plain.post("/api/audiences", json=audience)
        person = {"projectKey": "pk_demo", "endUserId": "usr_you"}
        bearer = {"Authorization": f"Bearer {KEY}"}
        forgotten = plain.post("/api/journeys/internal/forget-end-user", json=person, headers=bearer)
        assert forgotten.status_code < 300, forgotten.text


async def test_what_the_product_writes_is_let_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever a validator asks for is there in every document, of all that a whole walk touches."""
    written: list[tuple[Collection[Any], Any]] = []
    prepared = SqliteDocuments._prepared

    def noting(documents: SqliteDocuments, write: Write) -> Any:
        if not isinstance(write, Delete):
            written.append((write.collection, write.document))
        return prepared(documents, write)

    monkeypatch.setattr(SqliteDocuments, "_prepared", noting)
    monkeypatch.setattr(all_in_one, "_share_the_interpreter", lambda: None)
    settings = ServeSettings.load(
        http_port=0, store="memory", log="memory", data_dir=tmp_path, bootstrap_token=TOKEN, sync_api_key=KEY
    )
    async with all_in_one.running(settings) as at:
        await asyncio.to_thread(use, at.url)

    refused = [
        (collection.name, fault)
        for collection, document in written
        for fault in faults(collection, stored(collection, document))
    ]
    assert [] == refused
    missed = {collection.name for collection, _ in written}
    assert {"executions", "subjects", "journeys", "versions", "event_records", "messages", "analytics_facts"} <= missed
    assert len(missed) > 20, sorted(missed)
