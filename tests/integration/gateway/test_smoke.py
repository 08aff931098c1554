async def test_x(client):
    for m, p in [("GET","/"),("GET","/docs"),("GET","/healthz"),("GET","/readyz"),("GET","/metrics"),("GET","/api/openapi.json"),("GET","/api/me"),("GET","/nope"),("DELETE","/api/journeys/x"),("GET","/api/journeys?limit=abc"),("GET","/api/journeys/a%2Fb%7Bc%7D"),("POST","/api/journeys")]:
        r = await client.ask(m, p)
        print(m, p, r.status, dict(r.headers), r.body[:300])
    assert 0
