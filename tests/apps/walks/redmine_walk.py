"""Redmine by its REST API, and its pages as a visitor sees them: projects, issues, notes, times, wiki."""

import base64

from walk import User, go

# What Redmine begins with.
ADMINISTRATOR = "Basic " + base64.b64encode(b"admin:admin").decode()


def make_user(_):
    user = User({"Authorization": ADMINISTRATOR})
    user.visitor = User()
    user.tracker = user.does("GET", "/trackers.json").json["trackers"][0]["id"]
    user.statuses = [one["id"] for one in user.does("GET", "/issue_statuses.json").json["issue_statuses"]]
    user.priority = user.does("GET", "/enumerations/issue_priorities.json").json["issue_priorities"][0]["id"]
    user.activity = user.does("GET", "/enumerations/time_entry_activities.json").json["time_entry_activities"][0]["id"]
    return user


def walk(user, lap):
    name = f"project-{lap}"
    modules = ["issue_tracking", "time_tracking", "wiki", "news"]
    project = {"name": f"Project {lap}", "identifier": name, "enabled_module_names": modules, "tracker_ids": [user.tracker]}
    user.does("POST", "/projects.json", {"project": project})
    user.sees("a new project", f"/projects/{name}.json", lambda answer: answer.json["project"]["identifier"] == name)
    user.sees("the list of projects", "/projects.json?limit=100", lambda answer: name in [one["identifier"] for one in answer.json["projects"]])
    visitor = user.visitor
    visitor.sees("a project's page", f"/projects/{name}", lambda answer: answer.status == 200 and f"Project {lap}" in answer.text)
    issues = [new_issue(user, name, f"Issue {number} of {lap}") for number in range(3)]
    user.sees("a project's issues", f"/issues.json?project_id={name}", lambda answer: answer.json["total_count"] == 3)
    work_on(user, name, issues[0], lap)
    wiki(user, name, lap)
    visitor.sees("a project's activity", f"/projects/{name}/activity", lambda answer: f"Issue 2 of {lap}" in answer.text)
    user.sees("a search", f"/search.json?q={lap}&issues=1", lambda answer: answer.json["total_count"] >= 3)
    user.does("DELETE", f"/issues/{issues[1]}.json")
    user.finds_nothing("a deleted issue", f"/issues/{issues[1]}.json")
    user.sees("the issues that are left", f"/issues.json?project_id={name}", lambda answer: answer.json["total_count"] == 2)
    user.does("DELETE", f"/projects/{name}.json")
    user.finds_nothing("a deleted project", f"/projects/{name}.json")


def new_issue(user, project, subject):
    issue = {"project_id": project, "subject": subject, "tracker_id": user.tracker, "priority_id": user.priority}
    made = user.does("POST", "/issues.json", {"issue": {**issue, "status_id": user.statuses[0]}}).json["issue"]["id"]
    user.sees("a new issue", f"/issues/{made}.json", lambda answer: answer.json["issue"]["subject"] == subject)
    user.visitor.sees("an issue's page", f"/issues/{made}", lambda answer: answer.status == 200 and subject in answer.text)
    return made


def work_on(user, project, issue, lap):
    path = f"/issues/{issue}.json"
    for count, status in enumerate(user.statuses[1:3], 1):
        user.does("PUT", path, {"issue": {"status_id": status, "notes": f"Note {count} of {lap}"}})
        user.sees("a changed issue", f"{path}?include=journals",
                  lambda answer: answer.json["issue"]["status"]["id"] == status
                  and answer.json["issue"]["journals"][-1]["notes"] == f"Note {count} of {lap}")
    user.visitor.sees("an issue's notes", f"/issues/{issue}", lambda answer: f"Note 2 of {lap}" in answer.text)
    entry = {"issue_id": issue, "hours": 1.5, "activity_id": user.activity}
    entry = user.does("POST", "/time_entries.json", {"time_entry": entry}).json["time_entry"]["id"]
    user.sees("time spent", f"/time_entries/{entry}.json", lambda answer: answer.json["time_entry"]["hours"] == 1.5)
    user.sees("an issue's time", path, lambda answer: answer.json["issue"]["spent_hours"] == 1.5)


def wiki(user, project, lap):
    path = f"/projects/{project}/wiki/Start.json"
    for version in (1, 2):
        user.does("PUT", path, {"wiki_page": {"text": f"h1. Text {version} of {lap}"}})
        user.sees("a wiki page", path, lambda answer: answer.json["wiki_page"]["version"] == version)
    user.visitor.sees("a wiki page as a visitor", f"/projects/{project}/wiki/Start", lambda answer: f"Text 2 of {lap}" in answer.text)


go(make_user, walk)
