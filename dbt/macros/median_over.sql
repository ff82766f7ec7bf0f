{#- The median of a window's values, without nulls. BigQuery has no median of a frame: it collects
    the values with values_over, and takes their median in the select that follows. -#}
{% macro values_over(value, window) -%}
    {{ adapter.dispatch('values_over')(value, window) }}
{%- endmacro %}

{% macro duckdb__values_over(value, window) -%}
    median({{ value }}) over {{ window }}
{%- endmacro %}

{% macro bigquery__values_over(value, window) -%}
    array_agg({{ value }} ignore nulls) over {{ window }}
{%- endmacro %}

{% macro median_of(values) -%}
    {{ adapter.dispatch('median_of')(values) }}
{%- endmacro %}

{% macro duckdb__median_of(values) -%}
    {{ values }}
{%- endmacro %}

{% macro bigquery__median_of(values) -%}
    (select percentile_cont(value, 0.5) over () from unnest({{ values }}) as value limit 1)
{%- endmacro %}
