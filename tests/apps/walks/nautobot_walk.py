"""Nautobot by its REST and GraphQL APIs: places, devices, addresses, their changes."""

import base64
import os

from walk import User, go

STATUS = {"name": "Active"}


def make_user(_):
    """Somebody with a token of their own."""
    user = User({"Authorization": "Basic " + base64.b64encode(f"admin:{os.environ['WALK_PASSWORD']}".encode()).decode()})
    token = user.does("POST", "/api/users/tokens/", {}).json["key"]
    user.headers = {"Authorization": f"Token {token}", "Accept": "application/json"}
    user.sees("a new token", "/api/users/tokens/", lambda answer: token in [one["key"] for one in answer.json["results"]])
    return user


def made(user, path, body, **right):
    """Makes something, reads it and finds it by its name."""
    thing = user.does("POST", path, body).json["id"]
    user.sees(f"new in {path}", f"{path}{thing}/", lambda answer: all(answer.json[name] == value for name, value in right.items()))
    if "name" in body:
        found = f"{path}?name={body['name'].replace(' ', '%20')}"
        user.sees(f"found in {path}", found, lambda answer: [one["id"] for one in answer.json["results"]] == [thing])
    return thing


def walk(user, lap):
    maker = made(user, "/api/dcim/manufacturers/", {"name": f"Maker {lap}"}, name=f"Maker {lap}")
    model = made(user, "/api/dcim/device-types/", {"manufacturer": {"id": maker}, "model": f"Model {lap}"}, model=f"Model {lap}")
    role = made(user, "/api/extras/roles/", {"name": f"Role {lap}", "content_types": ["dcim.device"]}, name=f"Role {lap}")
    kind = made(user, "/api/dcim/location-types/", {"name": f"Kind {lap}", "content_types": ["dcim.device"]}, name=f"Kind {lap}")
    place = {"name": f"Place {lap}", "location_type": {"id": kind}, "status": STATUS}
    place = made(user, "/api/dcim/locations/", place, name=f"Place {lap}")
    tenant = made(user, "/api/tenancy/tenants/", {"name": f"Tenant {lap}"}, name=f"Tenant {lap}")
    device = {"name": f"device-{lap}", "device_type": {"id": model}, "role": {"id": role}, "location": {"id": place}, "status": STATUS}
    device = made(user, "/api/dcim/devices/", device, name=f"device-{lap}")
    path = f"/api/dcim/devices/{device}/"
    for serial in ("1", "2", "3"):
        user.does("PATCH", path, {"serial": f"{lap}-{serial}", "tenant": {"id": tenant}})
        user.sees("a changed device", path, lambda answer: answer.json["serial"] == f"{lap}-{serial}")
    user.sees("devices of a tenant", f"/api/dcim/devices/?tenant=Tenant%20{lap}", lambda answer: answer.json["count"] == 1)
    query = {"query": f'{{ devices(name: "device-{lap}") {{ serial location {{ name }} }} }}'}
    user.sees("a device by GraphQL", "/api/graphql/", lambda answer: answer.json["data"]["devices"] == [
        {"serial": f"{lap}-3", "location": {"name": f"Place {lap}"}}], "POST", query)
    user.sees("a device's changes", f"/api/extras/object-changes/?changed_object_id={device}", lambda answer: answer.json["count"] == 4)
    interface(user, device, lap)
    user.does("DELETE", path)
    user.finds_nothing("a deleted device", path)
    user.sees("no devices of a tenant", f"/api/dcim/devices/?tenant=Tenant%20{lap}", lambda answer: answer.json["count"] == 0)
    user.does("DELETE", f"/api/tenancy/tenants/{tenant}/")
    user.finds_nothing("a deleted tenant", f"/api/tenancy/tenants/{tenant}/")


def interface(user, device, lap):
    """An interface with addresses of a prefix of this lap's own."""
    left, right = lap.split("x")
    prefix = f"10.{left}.{right}"
    made(user, "/api/ipam/prefixes/", {"prefix": f"{prefix}.0/24", "status": STATUS}, prefix=f"{prefix}.0/24")
    port = {"device": {"id": device}, "name": "eth0", "type": "1000base-t", "status": STATUS}
    port = user.does("POST", "/api/dcim/interfaces/", port).json["id"]
    for number in range(1, 4):
        address = {"address": f"{prefix}.{number}/24", "status": STATUS, "namespace": {"name": "Global"}}
        address = made(user, "/api/ipam/ip-addresses/", address, address=f"{prefix}.{number}/24")
        user.does("POST", "/api/ipam/ip-address-to-interface/", {"ip_address": {"id": address}, "interface": {"id": port}})
        of_port = f"/api/ipam/ip-address-to-interface/?interface={port}"
        user.sees("an interface's addresses", of_port, lambda answer: answer.json["count"] == number)


go(make_user, walk)
