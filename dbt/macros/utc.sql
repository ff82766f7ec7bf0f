{#- An instant whose date is that of UTC, whatever the time zone of the session. -#}
{% macro utc(instant) -%}
    {{ adapter.dispatch('utc')(instant) }}
{%- endmacro %}

{% macro duckdb__utc(instant) -%}
    {{ instant }} at time zone 'UTC'
{%- endmacro %}

{% macro bigquery__utc(instant) -%}
    {{ instant }}
{%- endmacro %}
