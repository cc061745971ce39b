"""The tasks of the job queue, for its worker and for the walk."""

import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector())


@app.task(name="add", queue="sums", pass_context=True)
async def add(context, left, right):
    """Leaves its result in a table of the walk's, as tasks of applications do."""
    await context.app.connector.execute_query_async(
        "INSERT INTO results (job, sum) VALUES (%(job)s, %(total)s)", job=context.job.id, total=left + right
    )


@app.task(name="fail", queue="sums")
def fail():
    raise ValueError("as it should")
