from datalabs_standalone.backoff import DATABASE_POLICY, RestartPolicy, Restarts


def test_delays_grow_and_the_last_repeats() -> None:
    restarts = Restarts(policy=RestartPolicy(delays=(0.1, 1.0, 5.0), steady_seconds=20, failing_after=3))
    assert [restarts.after(0.5) for _ in range(5)] == [0.1, 1.0, 5.0, 5.0, 5.0]


def test_a_steady_life_begins_anew() -> None:
    restarts = Restarts(policy=RestartPolicy(delays=(0.1, 1.0), steady_seconds=20, failing_after=2))
    restarts.after(1)
    restarts.after(1)
    assert restarts.failing
    assert restarts.after(21) == 0.1
    assert not restarts.failing


def test_it_is_failing_only_after_several_deaths_in_a_row() -> None:
    restarts = Restarts(policy=RestartPolicy(failing_after=3))
    deaths = []
    for _ in range(3):
        restarts.after(0.1)
        deaths.append(restarts.failing)
    assert deaths == [False, False, True]


def test_a_database_that_finds_another_postmaster_is_retried_five_times_within_a_second() -> None:
    assert sum(DATABASE_POLICY.delays[:5]) < 1
    restarts = Restarts(policy=DATABASE_POLICY)
    for _ in range(5):
        restarts.after(0.05)
    assert not restarts.failing
