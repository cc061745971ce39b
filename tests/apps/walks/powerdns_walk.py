"""PowerDNS: zones by its HTTP API, and names by DNS itself."""

import os
import secrets
import socket
import struct

from walk import PORT, User, go, sees

ZONES = "/api/v1/servers/localhost/zones"


def ask_dns(name, kind=1):
    """The addresses of a name, by one question over UDP; None if there is no such name."""
    number = secrets.randbits(16)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    question = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">x2H", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(10)
        udp.sendto(question, ("127.0.0.1", PORT))
        answer = udp.recv(4096)
    _, flags, _, count, _, _ = struct.unpack(">6H", answer[:12])
    if flags & 15 not in (0, 3, 5):
        raise ValueError(f"{name}: DNS says {flags & 15}")
    found, at = set(), len(question)
    for _ in range(count):
        # A name, which is a pointer to the question's; then type, class, time to live, length.
        size = struct.unpack(">H", answer[at + 10 : at + 12])[0]
        found.add(socket.inet_ntoa(answer[at + 12 : at + 12 + size]))
        at += 12 + size
    return found or None


def change(zone, *records):
    return {
        "rrsets": [
            {"name": f"{name}.{zone}", "type": "A", "ttl": 60, "changetype": "REPLACE" if addresses else "DELETE",
             "records": [{"content": address, "disabled": False} for address in addresses]}
            for name, addresses in records
        ]
    }


def addresses(answer, name):
    sets = [rrset for rrset in answer.json["rrsets"] if rrset["name"] == name and rrset["type"] == "A"]
    return {record["content"] for rrset in sets for record in rrset["records"]}


def walk(user, lap):
    zone = f"zone{lap}.example."
    path = f"{ZONES}/{zone}"
    user.does("POST", ZONES, {"name": zone, "kind": "Native", "nameservers": [f"ns1.{zone}"]})
    user.sees("a new zone", path, lambda answer: answer.json["name"] == zone)
    user.sees("the list of zones", ZONES, lambda answer: any(one["name"] == zone for one in answer.json))
    user.does("PATCH", path, change(zone, ("www", ["192.0.2.1"]), ("ns1", ["192.0.2.53"])))
    www = f"www.{zone}"
    sees("a new name by DNS", lambda: ask_dns(www), lambda found: found == {"192.0.2.1"})
    user.sees("a new name", path, lambda answer: addresses(answer, www) == {"192.0.2.1"})
    user.does("PATCH", path, change(zone, ("www", ["192.0.2.2", "192.0.2.3"])))
    sees("a changed name by DNS", lambda: ask_dns(www), lambda found: found == {"192.0.2.2", "192.0.2.3"})
    user.sees("a changed name", path, lambda answer: addresses(answer, www) == {"192.0.2.2", "192.0.2.3"})
    for number in range(5):
        user.does("PATCH", path, change(zone, (f"h{number}", [f"198.51.100.{number}"])))
        host = f"h{number}.{zone}"
        sees("a host by DNS", lambda: ask_dns(host), lambda found: found == {f"198.51.100.{number}"})
        sees("its name server by DNS", lambda: ask_dns(f"ns1.{zone}"), lambda found: found == {"192.0.2.53"})
    found = f"/api/v1/servers/localhost/search-data?q=h3.{zone.rstrip('.')}&max=5"
    user.sees("a search", found, lambda answer: answer.json[0]["content"] == "198.51.100.3")
    user.does("PATCH", path, change(zone, ("www", [])))
    sees("a deleted name by DNS", lambda: ask_dns(www), lambda found: found is None)
    user.does("PUT", path, {"account": f"account{lap}"})
    user.sees("a zone's account", path, lambda answer: answer.json["account"] == f"account{lap}")
    user.does("DELETE", path)
    user.finds_nothing("a deleted zone", path)


go(lambda _: User({"X-API-Key": os.environ["WALK_KEY"]}), walk)
