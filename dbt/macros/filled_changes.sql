{#- What the macros over change logs share. A log has the columns of its table and those that every
    change carries: _op, _position_hi, _position_lo, _seq, _is_snapshot, _source_at, _missing. -#}
{% macro change_columns() -%}
    _op, _position_hi, _position_lo, _seq, _is_snapshot, _source_at, _event_id, _missing
{%- endmacro %}

{#- The order of a key's changes at the source; snapshots without a position are before all. -#}
{% macro change_order(direction='') -%}
    {%- for column in ['_position_hi', '_position_lo', '_seq', '_source_at', '_event_id'] -%}
        {{ column }}{{ ' ' ~ direction if direction }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- The changes in a relation, and those in the relation of truncates as one of each key. -#}
{% macro changes_of_keys(logged, truncates, key, columns) -%}
    select {{ quoted(key + columns) }}, {{ change_columns() }}
    from {{ logged }}
    where _op <> 'T'
    union all
    select {{ quoted(key, 'k') }}, {{ quoted(columns, 't') }}, t.{{ change_columns().split(', ') | join(', t.') }}
    from (select distinct {{ quoted(key) }} from {{ logged }} where _op <> 'T') as k
    cross join {{ truncates }} as t
{%- endmacro %}

{#- The same with _is_placed, 0 for a snapshot without a position, and _from_at: when the change was
    there, which is no later than any that came after it. -#}
{% macro timed_changes(logged, truncates, key, columns) -%}
    select
        *,
        min(_source_at) over (
            partition by {{ quoted(key) }}, _is_placed order by {{ change_order() }}
            rows between current row and unbounded following
        ) as _from_at
    from (
        select
            *,
            case when _is_snapshot and _position_hi = 0 and _position_lo = 0 then 0 else 1 end
                as _is_placed
        from ({{ changes_of_keys(logged, truncates, key, columns) }}) as of_keys
    ) as placed
{%- endmacro %}

{#- The changes in a relation, numbered by key as _at in an order, with what they did not send.

    A value that was not sent is the one that was sent last since the key's row began: with its
    insert, or a row of a snapshot. If there is none, because the row moved here from another key
    without it say, it is null, and the column stands in _missing, by commas. Deletions have what
    they brought. -#}
{% macro filled_changes(changes, key, columns, order, more=[]) -%}
    select
        {{ quoted(key) }},
        {%- for column in columns %}
        ({{ adapter.quote(column) }}).v as {{ adapter.quote(column) }},
        {%- endfor %}
        _op, _position_hi, _position_lo, _seq, _is_snapshot, _source_at,
        nullif(substr(concat(''
            {%- for column in columns -%}
            , case when {{ adapter.quote(column) }} is null then ',{{ column }}' else '' end
            {%- endfor -%}
        ), 2), '') as _missing,
        {{ (more + ['_at']) | join(', ') }}
    from (
        select
            {{ quoted(key) }},
            {%- for column in columns %}
            case
                when _op in ('D', 'T') then {{ boxed(adapter.quote(column)) }}
                else last_value(
                    case
                        when
                            _op in ('I', 'U', 'R')
                            and strpos(concat(',', coalesce(_missing, ''), ','), ',{{ column }},') = 0
                            then {{ boxed(adapter.quote(column)) }}
                    end
                    ignore nulls
                ) over (
                    partition by {{ quoted(key) }}, _life order by _at
                    rows between unbounded preceding and current row
                )
            end as {{ adapter.quote(column) }},
            {%- endfor %}
            _op, _position_hi, _position_lo, _seq, _is_snapshot, _source_at,
            {{ (more + ['_at']) | join(', ') }}
        from (
            select
                *,
                max(case when _op in ('I', 'R') then _at else 0 end) over (
                    partition by {{ quoted(key) }} order by _at
                    rows between unbounded preceding and current row
                ) as _life
            from (
                select *, row_number() over (partition by {{ quoted(key) }} order by {{ order }}) as _at
                from {{ changes }}
            ) as numbered
        ) as lives
    ) as brought
{%- endmacro %}
