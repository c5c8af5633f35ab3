from datalabs_contracts.people import CreatePerson, SignInAttempt


def test_a_secret_crosses_the_wire_but_not_a_log() -> None:
    attempt = SignInAttempt.model_validate({"username": "ada", "password": "geheim", "address": "::1"})
    assert SignInAttempt.model_validate_json(attempt.model_dump_json()) == attempt
    assert '"geheim"' in attempt.model_dump_json()
    assert "geheim" not in repr(attempt)
    assert '"password":null' in CreatePerson(username="ada", roles=[]).model_dump_json()
