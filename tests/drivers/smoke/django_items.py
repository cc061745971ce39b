"""Django's ORM over psycopg 3, with persistent and with fresh connections."""

import django
from django.conf import settings
from items import item, login, main

details = login()
settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": details["database"], "USER": details["user"],
        "PASSWORD": details["password"], "HOST": details["host"], "PORT": details["port"], "CONN_MAX_AGE": 60,
    }},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True, SECRET_KEY="no secret",
)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, connection, models, transaction  # noqa: E402


@item
def migrations():
    call_command("migrate", verbosity=0)
    return len(connection.introspection.table_names()) > 5, connection.vendor, connection.pg_version > 120000


@item
def create_read_update_delete():
    User.objects.filter(username__startswith="dj").delete()
    for n in range(20):
        user = User.objects.create_user(f"dj{n}", password=None, email=f"{n}@example.org")
        assert User.objects.get(pk=user.pk).username == f"dj{n}"
    User.objects.filter(username__startswith="dj", pk__gt=0).update(first_name="x")
    first = User.objects.filter(first_name="x").count()
    deleted = User.objects.filter(username__startswith="dj").delete()[0]
    return first, deleted, User.objects.filter(username__startswith="dj").exists()


@item
def bulk_create_and_in_bulk():
    Group.objects.all().delete()
    groups = Group.objects.bulk_create([Group(name=f"g{n}") for n in range(700)])
    return len(Group.objects.in_bulk([group.pk for group in groups]))


@item
def get_or_create_and_update_or_create():
    Group.objects.all().delete()
    created = [Group.objects.get_or_create(name="one")[1], Group.objects.get_or_create(name="one")[1]]
    return created, Group.objects.update_or_create(name="one", defaults={"name": "two"})[0].name


@item
def atomic_blocks_nest():
    Group.objects.all().delete()
    with transaction.atomic():
        Group.objects.create(name="outer")
        try:
            with transaction.atomic():
                Group.objects.create(name="inner")
                Group.objects.create(name="inner")
        except DatabaseError:
            pass
    return list(Group.objects.values_list("name", flat=True))


@item
def select_for_update():
    Group.objects.all().delete()
    Group.objects.create(name="locked")
    with transaction.atomic():
        return Group.objects.select_for_update(of=("self",), nowait=True).get(name="locked").name


@item
def iterator_by_a_server_side_cursor():
    Group.objects.all().delete()
    Group.objects.bulk_create([Group(name=f"i{n}") for n in range(300)])
    return sum(1 for _ in Group.objects.iterator(chunk_size=50))


@item
def database_sessions():
    store = SessionStore()
    store["a"] = {"b": [1, 2]}
    store.save()
    again = SessionStore(session_key=store.session_key)["a"]
    store.delete()
    return again


@item
def aggregates_and_raw_sql():
    Group.objects.all().delete()
    Group.objects.bulk_create([Group(name=f"r{n}") for n in range(10)])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), %s FROM auth_group", ["x"])
        raw = cursor.fetchone()
    return raw, Group.objects.aggregate(n=models.Count("pk"))


@item
def schema_editor():
    class Thing(models.Model):
        name = models.CharField(max_length=10)

        class Meta:
            app_label = "smoke"

    with connection.schema_editor() as editor:
        editor.execute("DROP TABLE IF EXISTS smoke_thing")
        editor.create_model(Thing)
    Thing.objects.create(name="x")
    with connection.schema_editor() as editor:
        field = models.IntegerField(default=3)
        field.set_attributes_from_name("size")
        editor.add_field(Thing, field)
    with connection.cursor() as cursor:
        cursor.execute("SELECT size FROM smoke_thing")
        return cursor.fetchall()


@item
def time_zone_of_the_connection():
    with connection.cursor() as cursor:
        cursor.execute("SHOW TimeZone")
        return cursor.fetchone()


@item
def fresh_connections_each_time():
    values = []
    for n in range(10):
        connection.close()
        values.append(Group.objects.count())
    return len(set(values))


@item
def explain():
    return "Scan" in Group.objects.filter(pk=1).explain() , "actual" in Group.objects.all().explain(analyze=True)


main()
