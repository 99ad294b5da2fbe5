"""Four tasks that do nothing but write, as those of trainings do now and then, until there is the file `end`."""

import time
from pathlib import Path

from airflow.sdk import dag, task


@dag(schedule=None, params={"end": ""})
def busy():
    @task
    def write(end: str, ti=None) -> None:
        number = 0
        while not Path(end).exists():
            number += 1
            ti.xcom_push("number", number)
            time.sleep(0.05)

    for number in range(4):
        write.override(task_id=f"write{number}")("{{ params.end }}")


busy()
