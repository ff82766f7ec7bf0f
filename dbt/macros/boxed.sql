{#- A value in a struct, as its field v: so a null that was sent differs from nothing. -#}
{% macro boxed(value) -%}
    {{ adapter.dispatch('boxed')(value) }}
{%- endmacro %}

{% macro duckdb__boxed(value) -%}
    struct_pack(v := {{ value }})
{%- endmacro %}

{% macro bigquery__boxed(value) -%}
    struct({{ value }} as v)
{%- endmacro %}
