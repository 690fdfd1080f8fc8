"""Queries whose SQL is made once in a process, not each time they are asked.

The ORM makes a query's SQL anew for each request, which takes the web server several times longer
than the database takes to find a row by an index. Of the few queries on which somebody waits
between two tasks the SQL is kept, and only what stands as `Given` differs from call to call:

    @cache
    def _done() -> Rows:
        return Rows(Task.objects.filter(pk=Given("task")).values_list("n_done"))

    [(n_done,)] = _done().all(task=7)

The ORM still says which tables and columns there are; nothing here writes SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast

from django.db import connection, models
from django.db.models.query import get_related_populators
from django.db.models.sql import InsertQuery, UpdateQuery
from django.db.models.sql.datastructures import BaseTable

M = TypeVar("M", bound=models.Model)
Q = TypeVar("Q", bound="models.QuerySet[Any, Any]")


class Given(models.Expression):
    """A value that is named when the query runs; times and JSON say of which `field`."""

    def __init__(self, name: str, field: Any = None) -> None:
        super().__init__(output_field=field)
        self.name, self.prepared_by = name, field

    def as_sql(self, *_: Any, **__: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        return "%s", [self]

    def prepared(self, given: Mapping[str, Any]) -> Any:
        value = given[self.name]
        field = self.prepared_by
        return field.get_db_prep_save(value, connection) if field else value


class _Part(BaseTable):
    """Rows that stand in SQL where their table would."""

    def __init__(self, rows: models.QuerySet[Any]) -> None:
        super().__init__(rows.model._meta.db_table, rows.model._meta.db_table)
        self.rows = rows

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        sql, params = self.rows.query.get_compiler(connection=connection).as_sql()
        return f"({sql}) {compiler.quote_name_unless_alias(self.table_alias)}", params


def of_part(rows: Q, part: models.QuerySet[Any]) -> Q:
    """`rows` of a part of their table alone, such as its first ten.

    By `pk__in` PostgreSQL would read a table of some thousand rows from end to end instead. `part`
    must have the columns that `rows` asks for.
    """
    rows = rows.all()
    rows.query.alias_map[rows.query.get_initial_alias()] = _Part(part)
    return rows


class _Compiled:
    """SQL with what differs from call to call, in the order of its placeholders."""

    def __init__(self, sql: str, params: Any) -> None:
        pieces = sql.split("%s")
        self.sql, self.params = pieces[0], []
        for param, piece in zip(params, pieces[1:], strict=True):
            literal = _literal(param)
            self.params += [] if literal else [param]
            self.sql += (literal or "%s") + piece

    def bound(self, given: Mapping[str, Any]) -> list[Any]:
        return [one.prepared(given) if isinstance(one, Given) else one for one in self.params]


def _literal(param: Any) -> str:
    """A constant as SQL has it: a plan that is made once finds the index with that condition."""
    if isinstance(param, int) and not isinstance(param, bool):
        return f"{int(param)}"  # PostgreSQL's has a type of its own
    if isinstance(param, str):
        return "'" + param.replace("'", "''").replace("%", "%%") + "'"
    return ""


class Rows(_Compiled):
    """What the queryset of `values_list` would give."""

    def __init__(self, rows: models.QuerySet[Any, Any]) -> None:
        self.compiler = rows.query.get_compiler(connection=connection)
        super().__init__(*self.compiler.as_sql())
        columns = [expression for expression, _, _ in self.compiler.select]
        self.converters = list(self.compiler.get_converters(columns).items())

    def all(self, **given: Any) -> list[list[Any]]:
        with connection.cursor() as cursor:
            cursor.execute(self.sql, self.bound(given))
            rows = [list(row) for row in cursor.fetchall()]
        for position, (converters, expression) in self.converters:
            for row in rows:
                for convert in converters:
                    row[position] = convert(row[position], expression, connection)
        return rows


class Objects(Generic[M]):
    """The objects that the queryset would give, with what is selected as related to them."""

    def __init__(self, rows: models.QuerySet[M]) -> None:
        self.rows = Rows(rows)
        compiler = self.rows.compiler
        select, told = compiler.select, compiler.klass_info
        self.model: type[M] = rows.model
        self.names = [select[position][0].target.attname for position in told["select_fields"]]
        # The stubs are those of a later Django.
        self.related = get_related_populators(told, select, connection.alias)  # type: ignore[call-arg]
        self.annotations = list(compiler.annotation_col_map.items())

    def all(self, **given: Any) -> list[M]:
        return [self._object(row) for row in self.rows.all(**given)]

    def get(self, **given: Any) -> M:
        [found] = self.all(**given)
        return found

    def first(self, **given: Any) -> M | None:
        return next(iter(self.all(**given)), None)

    def _object(self, row: list[Any]) -> M:
        found = self.model.from_db(connection.alias, self.names, row[: len(self.names)])
        for related in self.related:
            related.populate(row, found)
        for name, position in self.annotations:
            setattr(found, name, row[position])
        return found


class Update(_Compiled):
    """`queryset.update(**changes)`."""

    def __init__(self, rows: models.QuerySet[Any], **changes: Any) -> None:
        query = cast(UpdateQuery, rows.query.chain(UpdateQuery))
        query.add_update_values(changes)
        super().__init__(*query.get_compiler(connection=connection).as_sql())

    def run(self, **given: Any) -> int:
        """How many rows were changed."""
        with connection.cursor() as cursor:
            cursor.execute(self.sql, self.bound(given))
            return int(cursor.rowcount)


class Insert(Generic[M]):
    """`model.save()` of a new object, without signals."""

    def __init__(self, model: type[M]) -> None:
        self.fields = [field for field in model._meta.concrete_fields if not field.primary_key]
        query = InsertQuery(model)
        columns = {field.attname: Given(field.attname, field) for field in self.fields}
        query.insert_values(self.fields, [model(**columns)], raw=True)
        compiler = query.get_compiler(connection=connection)
        compiler.returning_fields = [model._meta.pk]
        [(sql, params)] = compiler.as_sql()
        self.statement = _Compiled(sql, params)

    def save(self, new: M) -> M:
        """The object, which knows its id now."""
        values = {field.attname: field.pre_save(new, add=True) for field in self.fields}
        with connection.cursor() as cursor:
            cursor.execute(self.statement.sql, self.statement.bound(values))
            (new.pk,) = cursor.fetchone()
        new._state.adding, new._state.db = False, connection.alias
        return new
