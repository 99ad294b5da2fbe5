"""Four tasks that do nothing but write, as those of trainings do now and then."""

import time

from airflow.sdk import dag, task


@dag(schedule=None)
def busy():
    @task
    def write(seconds: float, ti=None) -> int:
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            number += 1
            ti.xcom_push("number", number)
            time.sleep(0.05)
        return number

    for number in range(4):
        write.override(task_id=f"write{number}")(20.0)


busy()
