{#- All that a change table ever was: a relation of one row per version of each key's row.

    It has the key, the columns that are named, and _op, _source_at, valid_from_at (when the source
    committed the version), valid_to_at (when the next one took its place; null for the current
    one), is_deleted, and _missing as in as_of. From its first version on, a key has one at every
    instant: a deletion is a version, a second one in a row is not, and of the changes that the
    source committed at one instant the last is. A row that a backfill read is one, be it changed
    or not. Where the clock of the source ran backwards, what was never the last change by any
    instant is left out. -#}
{% macro change_history(changes, key, columns) -%}
(
    with copies as (
        select
            *,
            row_number() over (
                partition by _event_id, _op, {{ quoted(key) }}
                order by {{ change_order() }}, _batch_id, _file_row
            ) as _copy
        from {{ changes }}
    ),

    logged as (
        select * from copies where _copy = 1
    ),

    truncates as (
        select * from logged where _op = 'T'
    ),

    timed as (
        {{ timed_changes('logged', 'truncates', key, columns) }}
    ),

    filled as (
        {{ filled_changes(
            'timed', key, columns, '_from_at, _is_placed, ' ~ change_order(), ['_from_at']
        ) }}
    ),

    numbered as (
        select
            *,
            row_number() over (partition by {{ quoted(key) }}, _from_at order by _at desc) as _nth
        from filled
    ),

    compared as (
        select *, lag(_op) over (partition by {{ quoted(key) }} order by _at) as _op_before
        from numbered
        where _nth = 1
    )

    select
        {{ quoted(key + columns) }},
        _op,
        _source_at,
        _from_at as valid_from_at,
        lead(_from_at) over (partition by {{ quoted(key) }} order by _at) as valid_to_at,
        _op in ('D', 'T') as is_deleted,
        _missing
    from compared
    where
        _op not in ('D', 'T')
        or (_op = 'D' and _op_before is null)
        or _op_before not in ('D', 'T')
)
{%- endmacro %}
