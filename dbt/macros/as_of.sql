{#- A change table as its source had it at an instant, written 2026-11-03T06:00:00Z: a relation.

    select * from {{ as_of(source('datastream', 'haul_cycle_changes'), ['cycle_id'],
                           ['truck_id', 'payload_t'], '2026-11-03T06:00:00Z') }}

    It has the key, the columns that are named, and what the state has beside them: _op,
    _position_hi, _position_lo, _seq, _is_snapshot, _source_at, _missing and is_deleted; rows that
    were deleted by then are kept as tombstones. It is what malacate.read gives as of the instant,
    but for two things. _missing has only the columns whose value is not known, null where all are:
    a row that moved here from another key brought no more than what its move sent, where
    malacate.read follows it to its old key. And an instant before the log begins is not refused:
    then the rows are those that happened to change. -#}
{% macro as_of(changes, key, columns, instant) -%}
(
    with logged as (
        select * from {{ changes }} where _source_at <= {{ utc_instant(instant) }}
    ),

    truncates as (
        select *
        from (
            select *, row_number() over (order by {{ change_order('desc') }}) as _nth
            from logged
            where _op = 'T'
        ) as numbered
        where _nth = 1
    ),

    timed as (
        {{ timed_changes('logged', 'truncates', key, columns) }}
    ),

    filled as (
        {{ filled_changes('timed', key, columns, '_from_at, _is_placed, ' ~ change_order()) }}
    ),

    numbered as (
        select *, row_number() over (partition by {{ quoted(key) }} order by _at desc) as _nth
        from filled
    )

    select
        {{ quoted(key + columns) }},
        _op, _position_hi, _position_lo, _seq, _is_snapshot, _source_at, _missing,
        _op in ('D', 'T') as is_deleted
    from numbered
    where _nth = 1
)
{%- endmacro %}
