{#- The instant that a text says, written 2026-11-03T06:00:00Z. -#}
{% macro utc_instant(text) -%}
    {{ adapter.dispatch('utc_instant')(text) }}
{%- endmacro %}

{% macro duckdb__utc_instant(text) -%}
    timestamptz '{{ text }}'
{%- endmacro %}

{% macro bigquery__utc_instant(text) -%}
    timestamp '{{ text }}'
{%- endmacro %}
