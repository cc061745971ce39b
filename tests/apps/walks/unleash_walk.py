"""Unleash by its administrators' API: flags, their strategies and environments, segments, tags, events."""

from walk import User, go

# What Unleash begins with.
LOGIN = {"username": "admin", "password": "unleash4all"}
FLAGS = "/api/admin/projects/default/features"


def make_user(_):
    user = User()
    user.does("POST", "/auth/simple/login", LOGIN)
    user.sees("a login", "/api/admin/user", lambda answer: answer.json["user"]["username"] == "admin")
    return user


def walk(user, lap):
    name = f"flag-{lap}"
    flag = f"{FLAGS}/{name}"
    user.does("POST", FLAGS, {"name": name, "type": "release", "description": lap})
    user.sees("a new flag", flag, lambda answer: answer.json["description"] == lap)
    user.sees("the list of flags", FLAGS, lambda answer: name in [one["name"] for one in answer.json["features"]])
    user.does("PUT", flag, {"name": name, "type": "experiment", "description": f"more of {lap}"})
    user.sees("a changed flag", flag, lambda answer: answer.json["type"] == "experiment")
    segment = user.does("POST", "/api/admin/segments", {"name": f"segment-{lap}", "constraints": []}).json["id"]
    user.sees("a new segment", f"/api/admin/segments/{segment}", lambda answer: answer.json["name"] == f"segment-{lap}")
    for environment in ("development", "production"):
        turn_on(user, f"{flag}/environments/{environment}")
    user.sees("a flag's environments", flag, lambda answer: [one["enabled"] for one in answer.json["environments"]] == [True, True])
    tags(user, name, lap)
    user.sees("a flag found", f"/api/admin/search/features?query={name}", lambda answer: name in [one["name"] for one in answer.json["features"]])
    user.sees("a flag's events", f"/api/admin/events/{name}", lambda answer: answer.json["totalEvents"] >= 7)
    user.does("DELETE", f"/api/admin/segments/{segment}")
    user.sees("segments that are left", "/api/admin/segments", lambda answer: segment not in [one["id"] for one in answer.json["segments"]])
    user.does("DELETE", flag)
    user.sees("flags that are left", FLAGS, lambda answer: name not in [one["name"] for one in answer.json["features"]])
    user.does("DELETE", f"/api/admin/archive/{name}")
    user.finds_nothing("a deleted flag", flag)


def turn_on(user, environment):
    strategies = f"{environment}/strategies"
    strategy = {"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "default", "groupId": "g"}}
    strategy = user.does("POST", strategies, strategy).json["id"]
    user.sees("a new strategy", strategies, lambda answer: [one["id"] for one in answer.json] == [strategy])
    user.does("PUT", f"{strategies}/{strategy}", {"name": "flexibleRollout", "parameters": {"rollout": "75"}})
    user.sees("a changed strategy", f"{strategies}/{strategy}", lambda answer: answer.json["parameters"]["rollout"] == "75")
    user.does("POST", f"{environment}/on")
    user.sees("a flag that is on", environment, lambda answer: answer.json["enabled"] is True)


def tags(user, name, lap):
    tags = f"/api/admin/features/{name}/tags"
    user.does("POST", tags, {"type": "simple", "value": f"tag {lap}"})
    user.sees("a flag's tags", tags, lambda answer: [one["value"] for one in answer.json["tags"]] == [f"tag {lap}"])
    user.does("DELETE", f"{tags}/simple/tag%20{lap}")
    user.sees("no tags", tags, lambda answer: answer.json["tags"] == [])


go(make_user, walk)
