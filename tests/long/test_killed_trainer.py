"""A trainer that is killed as often as Lambda tries it, with the retries as they are deployed."""

from __future__ import annotations

from integration.test_trainer_gone import check_that_a_killed_trainer_s_run_fails


def test_three_tries_each_killed(clients, stack, emulator, data):
    check_that_a_killed_trainer_s_run_fails(clients, stack, emulator, data, "killed-thrice", tries=3)
