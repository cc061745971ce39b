"""SQLAlchemy 2 over psycopg 3, psycopg2 and asyncpg."""

import asyncio

from items import item, login, main
from sqlalchemy import ForeignKey, MetaData, create_engine, func, inspect, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload
from sqlalchemy.pool import NullPool

URL = "postgresql+{driver}://{user}:{password}@{host}:{port}/{database}"


def engine(driver="psycopg", **more):
    return create_engine(URL.format(driver=driver, **login()), **more)


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "sa_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    books: Mapped[list["Book"]] = relationship(back_populates="author", order_by="Book.id")


class Book(Base):
    __tablename__ = "sa_book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("sa_author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


@item
def orm_round_trip():
    found = []
    for driver in ("psycopg", "psycopg2"):
        bind = engine(driver)
        Base.metadata.drop_all(bind)
        Base.metadata.create_all(bind)
        with Session(bind) as session:
            session.add_all([Author(name=f"a{n}", books=[Book(title=f"b{n}.{m}") for m in range(3)]) for n in range(20)])
            session.commit()
        with Session(bind) as session:
            authors = session.scalars(select(Author).options(selectinload(Author.books)).order_by(Author.id)).all()
            found.append((len(authors), [book.title for book in authors[3].books]))
            authors[0].name = "changed"
            session.commit()
            found.append(session.scalar(select(Author.name).where(Author.id == authors[0].id)))
        bind.dispose()
    return found


@item
def insertmanyvalues_returns_keys_in_order():
    bind = engine()
    Base.metadata.drop_all(bind)
    Base.metadata.create_all(bind)
    with Session(bind) as session:
        authors = [Author(name=f"n{n}") for n in range(2500)]
        session.add_all(authors)
        session.commit()
        return authors[-1].id - authors[0].id, session.scalar(select(func.count()).select_from(Author))


@item
def reflection():
    bind = engine()
    Base.metadata.create_all(bind)
    metadata = MetaData()
    metadata.reflect(bind, only=["sa_author", "sa_book"])
    look = inspect(bind)
    return sorted(metadata.tables), [key["referred_table"] for key in look.get_foreign_keys("sa_book")], \
        look.has_table("sa_nowhere")


@item
def isolation_levels_per_connection():
    bind = engine()
    found = []
    for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"):
        with bind.connect().execution_options(isolation_level=level) as conn:
            found.append((level, conn.execute(text("SHOW transaction_isolation")).scalar()))
    return found


@item
def read_only_connections():
    bind = engine()
    with bind.connect().execution_options(postgresql_readonly=True) as conn:
        return conn.execute(text("SHOW transaction_read_only")).scalar()


@item
def streamed_results():
    bind = engine()
    with bind.connect() as conn:
        rows = conn.execution_options(stream_results=True, yield_per=100).execute(text("SELECT generate_series(1, 1000)"))
        return sum(row[0] for row in rows)


@item
def nested_transactions():
    bind = engine()
    with bind.begin() as conn:
        conn.execute(text("DROP TABLE IF EXISTS sa_nested"))
        conn.execute(text("CREATE TABLE sa_nested (n int)"))
    with bind.begin() as conn:
        conn.execute(text("INSERT INTO sa_nested VALUES (1)"))
        inner = conn.begin_nested()
        conn.execute(text("INSERT INTO sa_nested VALUES (2)"))
        inner.rollback()
    with bind.connect() as conn:
        return conn.execute(text("SELECT array_agg(n) FROM sa_nested")).scalar()


@item
def two_phase():
    bind = engine("psycopg2")
    with bind.begin() as conn:
        conn.execute(text("DROP TABLE IF EXISTS sa_two"))
        conn.execute(text("CREATE TABLE sa_two (n int)"))
    with bind.connect() as conn:
        transaction = conn.begin_twophase()
        conn.execute(text("INSERT INTO sa_two VALUES (1)"))
        transaction.prepare()
        transaction.commit()
        return conn.execute(text("SELECT count(*) FROM sa_two")).scalar()


@item
def pre_ping_and_no_pool():
    with engine(pool_pre_ping=True).connect() as conn:
        one = conn.execute(text("SELECT 1")).scalar()
    with engine(poolclass=NullPool).connect() as conn:
        return one, conn.execute(text("SELECT 2")).scalar()


@item
def asyncpg_engine():
    async def run():
        bind = create_async_engine(URL.format(driver="asyncpg", **login()))
        async with bind.begin() as conn:
            await conn.execute(text("DROP TABLE IF EXISTS sa_async"))
            await conn.execute(text("CREATE TABLE sa_async (n int)"))
            for n in range(20):
                await conn.execute(text("INSERT INTO sa_async VALUES (:n)"), {"n": n})
        async with bind.connect() as conn:
            total = (await conn.execute(text("SELECT sum(n) FROM sa_async"))).scalar()
        await bind.dispose()
        return total

    return asyncio.run(run())


main()
