"""Prefect by its REST API: flows, runs and their states, task runs, variables, artifacts, work pools."""

from walk import User, go


def walk(user, lap):
    flow = user.does("POST", "/api/flows/", {"name": f"flow {lap}", "tags": ["a"]}).json["id"]
    user.sees("a new flow", f"/api/flows/{flow}", lambda answer: answer.json["name"] == f"flow {lap}")
    user.sees("a flow by its name", f"/api/flows/name/flow%20{lap}", lambda answer: answer.json["id"] == flow)
    user.does("PATCH", f"/api/flows/{flow}", {"tags": ["b", lap]})
    user.sees("a changed flow", f"/api/flows/{flow}", lambda answer: answer.json["tags"] == ["b", lap])
    those = {"flows": {"id": {"any_": [flow]}}}
    runs = [new_run(user, flow, f"run {lap} {number}") for number in range(3)]
    user.sees("the runs of a flow", "/api/flow_runs/filter", lambda answer: {run["id"] for run in answer.json} == set(runs), "POST", those)
    user.sees("their number", "/api/flow_runs/count", lambda answer: answer.json == 3, "POST", those)
    for run in runs:
        advance(user, run)
    done = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, **those}
    user.sees("completed runs", "/api/flow_runs/filter", lambda answer: len(answer.json) == 3, "POST", done)
    variables(user, lap)
    artifact = user.does("POST", "/api/artifacts/", {"key": f"key-{lap.replace('x', '-')}", "data": lap, "flow_run_id": runs[0]}).json["id"]
    user.sees("a new artifact", f"/api/artifacts/{artifact}", lambda answer: answer.json["data"] == lap)
    pool = f"/api/work_pools/pool-{lap}"
    user.does("POST", "/api/work_pools/", {"name": f"pool-{lap}", "type": "process"})
    user.sees("a new work pool", pool, lambda answer: answer.json["is_paused"] is False)
    user.does("PATCH", pool, {"is_paused": True})
    user.sees("a paused work pool", pool, lambda answer: answer.json["is_paused"] is True)
    user.does("DELETE", pool)
    user.finds_nothing("a deleted work pool", pool)
    user.does("DELETE", f"/api/flow_runs/{runs[0]}")
    user.finds_nothing("a deleted run", f"/api/flow_runs/{runs[0]}")
    user.sees("the runs that are left", "/api/flow_runs/count", lambda answer: answer.json == 2, "POST", those)
    user.does("DELETE", f"/api/flows/{flow}")
    user.finds_nothing("a deleted flow", f"/api/flows/{flow}")


def new_run(user, flow, name):
    run = user.does("POST", "/api/flow_runs/", {"flow_id": flow, "name": name, "state": {"type": "PENDING"}}).json["id"]
    user.sees("a new run", f"/api/flow_runs/{run}", lambda answer: answer.json["name"] == name)
    return run


def advance(user, run):
    """A run with one task, from its beginning to its end."""
    path = f"/api/flow_runs/{run}"
    for state in ("RUNNING", "COMPLETED"):
        answer = user.does("POST", f"{path}/set_state", {"state": {"type": state, "name": state.title()}})
        assert answer.json["status"] == "ACCEPT", answer
        user.sees("a run's state", path, lambda answer: answer.json["state"]["type"] == state)
        if state == "RUNNING":
            task = {"flow_run_id": run, "task_key": "add", "dynamic_key": "0", "name": f"task of {run}"}
            task = user.does("POST", "/api/task_runs/", {**task, "state": {"type": "PENDING"}}).json["id"]
            user.sees("a new task run", f"/api/task_runs/{task}", lambda answer: answer.json["flow_run_id"] == run)
            of_run = {"task_runs": {"flow_run_id": {"any_": [run]}}}
            user.sees("a run's tasks", "/api/task_runs/filter", lambda answer: [one["id"] for one in answer.json] == [task], "POST", of_run)
    user.sees("a run's states", f"/api/flow_run_states/?flow_run_id={run}", lambda answer: len(answer.json) == 3)


def variables(user, lap):
    name = f"variable_{lap}"
    path = f"/api/variables/name/{name}"
    user.does("POST", "/api/variables/", {"name": name, "value": 1})
    user.sees("a new variable", path, lambda answer: answer.json["value"] == 1)
    user.does("PATCH", path, {"value": 2})
    user.sees("a changed variable", path, lambda answer: answer.json["value"] == 2)
    like = {"variables": {"name": {"like_": name}}}
    user.sees("a variable found", "/api/variables/filter", lambda answer: [one["value"] for one in answer.json] == [2], "POST", like)
    user.does("DELETE", path)
    user.finds_nothing("a deleted variable", path)


go(lambda _: User(), walk)
