{#- A binary number of 64 bits; dbt's type_float has 32 in DuckDB. -#}
{% macro type_double() -%}
    {{ adapter.dispatch('type_double')() }}
{%- endmacro %}

{% macro duckdb__type_double() -%}
    double
{%- endmacro %}

{% macro bigquery__type_double() -%}
    float64
{%- endmacro %}
