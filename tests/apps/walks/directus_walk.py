"""Directus by its REST and GraphQL APIs: a collection per user, its items, comments, users, folders."""

import os

from walk import User, go, sees

LOGIN = {"email": os.environ["WALK_EMAIL"], "password": os.environ["WALK_PASSWORD"]}


def make_user(number):
    """Somebody who has logged in, with a collection of their own."""
    user = User()
    token = user.does("POST", "/auth/login", LOGIN).json["data"]["access_token"]
    user.headers["Authorization"] = f"Bearer {token}"
    user.books = f"books{number}"
    key = {"field": "id", "type": "integer", "schema": {"is_primary_key": True, "has_auto_increment": True}}
    fields = [key, {"field": "title", "type": "string", "schema": {}}, {"field": "pages", "type": "integer", "schema": {}},
              {"field": "author", "type": "string", "schema": {}}]
    user.does("POST", "/collections", {"collection": user.books, "schema": {}, "meta": {}, "fields": fields})
    user.sees("a new collection", f"/collections/{user.books}", lambda answer: answer.json["data"]["collection"] == user.books)
    user.does("POST", f"/fields/{user.books}", {"field": "shelf", "type": "string", "schema": {}})
    user.sees("a new field", f"/fields/{user.books}/shelf", lambda answer: answer.json["data"]["type"] == "string")
    return user


def walk(user, lap):
    items = f"/items/{user.books}"
    book = user.does("POST", items, {"title": f"Book {lap}", "pages": 100, "author": "A"}).json["data"]["id"]
    path = f"{items}/{book}"
    user.sees("a new item", path, lambda answer: answer.json["data"]["title"] == f"Book {lap}")
    user.sees("an item found", f"{items}?search=Book%20{lap}", lambda answer: [one["id"] for one in answer.json["data"]] == [book])
    for pages in range(101, 104):
        user.does("PATCH", path, {"pages": pages})
        user.sees("a changed item", path, lambda answer: answer.json["data"]["pages"] == pages)
    by_pages = f"{items}?filter[title][_eq]=Book%20{lap}&filter[pages][_gte]=103&aggregate[count]=*"
    user.sees("a count", by_pages, lambda answer: int(answer.json["data"][0]["count"]) == 1)
    query = {"query": f"{{ {user.books}_by_id(id: {book}) {{ title pages author }} }}"}
    user.sees("an item by GraphQL", "/graphql", lambda answer: answer.json["data"][f"{user.books}_by_id"]["pages"] == 103, "POST", query)
    of_book = f"/revisions?filter[collection][_eq]={user.books}&filter[item][_eq]={book}"
    user.sees("an item's revisions", of_book, lambda answer: len(answer.json["data"]) == 4)
    several = user.does("POST", items, [{"title": f"{lap} {number}", "pages": number} for number in range(5)]).json["data"]
    user.sees("several new items", f"{items}?filter[title][_starts_with]={lap}%20&sort=pages",
              lambda answer: [one["pages"] for one in answer.json["data"]] == [0, 1, 2, 3, 4])
    folders(user, lap)
    people(user, lap)
    user.does("DELETE", items, [one["id"] for one in several])
    user.sees("items deleted", f"{items}?filter[title][_starts_with]={lap}%20", lambda answer: answer.json["data"] == [])
    user.does("DELETE", path)
    sees("a deleted item", lambda: user.ask("GET", path), lambda answer: answer.status in (403, 404))


def folders(user, lap):
    folder = user.does("POST", "/folders", {"name": f"Folder {lap}"}).json["data"]["id"]
    user.sees("a new folder", f"/folders/{folder}", lambda answer: answer.json["data"]["name"] == f"Folder {lap}")
    user.does("PATCH", f"/folders/{folder}", {"name": f"Changed {lap}"})
    user.sees("a renamed folder", f"/folders/{folder}", lambda answer: answer.json["data"]["name"] == f"Changed {lap}")
    user.does("DELETE", f"/folders/{folder}")
    sees("a deleted folder", lambda: user.ask("GET", f"/folders/{folder}"), lambda answer: answer.status in (403, 404))


def people(user, lap):
    person = user.does("POST", "/users", {"email": f"u{lap}@example.com", "first_name": lap}).json["data"]["id"]
    user.sees("a new user", f"/users/{person}", lambda answer: answer.json["data"]["first_name"] == lap)
    user.sees("a user found", f"/users?filter[first_name][_eq]={lap}", lambda answer: answer.json["data"][0]["id"] == person)
    user.does("DELETE", f"/users/{person}")
    sees("a deleted user", lambda: user.ask("GET", f"/users/{person}"), lambda answer: answer.status in (403, 404))


go(make_user, walk)
