"""procrastinate: jobs are deferred, looked up at once, cancelled, done by the worker, and their results read."""

import asyncio
import threading

from procrastinate_tasks import add, app, fail
from walk import eventually, go, sees

# One loop for all users, as in a web application; their threads wait for it.
LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def now(work):
    async def done():
        return await work

    return asyncio.run_coroutine_threadsafe(done(), LOOP).result(60)


def jobs(**those):
    return [(job.id, job.status, job.task_kwargs) for job in now(app.job_manager.list_jobs_async(**those))]


def result(job):
    rows = now(app.connector.execute_query_all_async("SELECT sum FROM results WHERE job = %(job)s", job=job))
    return [row["sum"] for row in rows]


def walk(_, lap):
    lock = f"lock{lap}"
    later = now(add.configure(schedule_in={"hours": 1}, lock=lock).defer_async(left=1, right=2))
    sees("a deferred job", lambda: jobs(id=later), lambda found: found[0][2] == {"left": 1, "right": 2} if found else False)
    sees("its lock", lambda: jobs(lock=lock), lambda found: [job[0] for job in found] == [later])
    sees("its status", lambda: now(app.job_manager.get_job_status_async(later)).value, lambda status: status == "todo")
    now(app.job_manager.cancel_job_by_id_async(later))
    sees("a cancelled job", lambda: jobs(id=later), lambda found: found[0][1] == "cancelled" if found else False)
    batch = [now(add.defer_async(left=number, right=10)) for number in range(5)]
    for number, job in enumerate(batch):
        eventually("a job that is done", lambda: jobs(id=job), lambda found: found[0][1] == "succeeded" if found else False)
        # Its status was written after its result, and has been seen.
        sees("its result", lambda: result(job), lambda sums: sums == [number + 10])
    wrong = now(fail.defer_async())
    sees("a job that will fail", lambda: jobs(id=wrong), lambda found: len(found) == 1)
    eventually("a failed job", lambda: jobs(id=wrong), lambda found: found[0][1] == "failed" if found else False)
    sees("failed jobs", lambda: jobs(status="failed", queue="sums"), lambda found: wrong in [job[0] for job in found])
    sees("the queue", lambda: now(app.job_manager.list_queues_async(queue="sums")), lambda found: found[0]["failed"] >= 1)


now(app.open_async())
go(lambda number: number, walk)
now(app.close_async())
