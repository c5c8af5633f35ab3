from typing import Any


async def test_signing_in_sets_a_host_cookie_and_me_answers(stage: Any) -> None:
    client = stage.client()
    answer = await client.post(
        "/api/v1/session", json={"username": "ada", "password": "correct horse battery"}
    )
    assert answer.status_code == 200
    assert answer.json()["username"] == "ada"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-datalabs-session=")
    for rule in ("Path=/", "Secure", "HttpOnly", "SameSite=Lax"):
        assert rule in cookie
    client.headers["cookie"] = cookie.partition(";")[0]
    me = (await client.get("/api/v1/me")).json()
    assert me["limits"]["max_labs"] == 4
