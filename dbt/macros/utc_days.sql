{#- A relation of the column day_utc: the start of each day from begin to end, both given by utc. -#}
{% macro utc_days(begin, end) -%}
    {{ adapter.dispatch('utc_days')(begin, end) }}
{%- endmacro %}

{% macro duckdb__utc_days(begin, end) -%}
    unnest(generate_series(date_trunc('day', {{ begin }}), {{ end }}, interval 1 day))
        as days(day_utc)
{%- endmacro %}

{% macro bigquery__utc_days(begin, end) -%}
    unnest(generate_timestamp_array(timestamp_trunc({{ begin }}, day), {{ end }}, interval 1 day))
        as day_utc
{%- endmacro %}
