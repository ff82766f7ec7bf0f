"""What makes a Postgres database answer as a SQL Server with change data capture does."""

from collections.abc import Mapping
from typing import LiteralString

SCHEMA: LiteralString = """
create schema dbo;
create schema cdc;
create schema sys;
create table sys.clock (block bigint, slot int, is_together boolean);
insert into sys.clock values ((37::bigint << 32) + 256, 3, false);
create table sys.columns (relation regclass, name text, type text, ordinal serial);
create table sys.denied (capture_instance text);
create table sys.splits (relation regclass, key text);
create table sys.log (
    seq bigserial, xid xid8, lsn bytea, relation regclass, operation int, content jsonb,
    at timestamp default clock_timestamp()
);
create index on sys.log (xid);
create table cdc.change_tables (
    object_id serial primary key, source_object_id oid, capture_instance text unique,
    start_lsn bytea, create_date timestamptz default clock_timestamp(), role_name text
);
create table cdc.captured_columns (
    object_id int, column_name text, column_type text, column_ordinal int
);
create table cdc.lsn_time_mapping (start_lsn bytea primary key, tran_end_time timestamp,
    tran_id bytea);

create function sys.next_lsn() returns bytea language sql as $$
    update sys.clock set slot = case when is_together then slot + 1 else 3 end,
        block = block + case when is_together then 0 else 1 end
    returning int8send(block) || int2send(slot::smallint) $$;

create function sys.logged() returns trigger language plpgsql as $$
declare
    mine bytea; old_row jsonb; new_row jsonb; moved boolean := false; place bigint;
begin
    select lsn into mine from sys.log where xid = pg_current_xact_id() limit 1;
    mine := coalesce(mine, sys.next_lsn());
    if TG_OP <> 'INSERT' then old_row := to_jsonb(old); end if;
    if TG_OP <> 'DELETE' then new_row := to_jsonb(new); end if;
    if TG_OP = 'UPDATE' then
        select coalesce(bool_or(old_row -> key <> new_row -> key), false) into moved
        from sys.splits where relation = TG_RELID;
    end if;
    place := nextval('sys.log_seq_seq');
    insert into sys.log (seq, xid, lsn, relation, operation, content)
    select place, pg_current_xact_id(), mine, TG_RELID, operation, content
    from (values (case when TG_OP = 'DELETE' or moved then 1 else 3 end, old_row),
                 (case when TG_OP = 'INSERT' or moved then 2 else 4 end, new_row))
        as halves (operation, content) where content is not null;
    return null;
end $$;

create function sys.fn_cdc_get_max_lsn() returns bytea language sql stable as $$
    select start_lsn from cdc.lsn_time_mapping order by start_lsn desc limit 1 $$;

create function sys.fn_cdc_get_min_lsn(instance text) returns bytea language sql stable as $$
    select coalesce((select start_lsn from cdc.change_tables where capture_instance = instance
        and instance not in (select capture_instance from sys.denied)),
        '\\x00000000000000000000'::bytea) $$;

create function sys.fn_cdc_map_lsn_to_time(lsn bytea) returns timestamp language sql stable as $$
    select tran_end_time from cdc.lsn_time_mapping where start_lsn = lsn $$;

create function public.object_id(name text) returns oid language sql stable as $$
    select to_regclass(translate(name, '[]', '""'))::oid $$;

create function public.sysdatetimeoffset() returns timestamptz language sql volatile as $$
    select clock_timestamp() $$;
"""

INSTANCE: LiteralString = """
create table cdc.{table} ("__$start_lsn" bytea, "__$seqval" bytea, "__$operation" int,
    "__$update_mask" bytea);
create function cdc.{function}(from_lsn bytea, to_lsn bytea, rows text)
returns setof cdc.{table} language plpgsql stable as $$
declare least bytea := sys.fn_cdc_get_min_lsn({name});
begin
    if from_lsn is null or to_lsn is null or from_lsn < least or from_lsn > to_lsn
        or to_lsn > sys.fn_cdc_get_max_lsn() or get_byte(least, 3) = 0 then
        raise exception 'An insufficient number of arguments were supplied for the procedure or '
            'function cdc.fn_cdc_get_all_changes_ ... .';
    end if;
    return query select * from cdc.{table} as c
        where c."__$start_lsn" between from_lsn and to_lsn
        and (rows = 'all update old' or c."__$operation" <> 3);
end $$;
"""

TYPES: Mapping[str, LiteralString] = {
    "bit": "boolean",
    "tinyint": "smallint",
    "smallint": "smallint",
    "int": "integer",
    "bigint": "bigint",
    "real": "real",
    "float": "double precision",
    "decimal": "numeric",
    "money": "numeric(19,4)",
    "date": "date",
    "time": "time",
    "datetime": "timestamp(3)",
    "datetime2": "timestamp",
    "datetimeoffset": "timestamptz",
    "varchar": "text",
    "nvarchar": "text",
    "varbinary": "bytea",
    "uniqueidentifier": "uuid",
}
"""Which Postgres type holds the values of one of T-SQL."""
