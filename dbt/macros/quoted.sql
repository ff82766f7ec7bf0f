{#- Columns by commas, each quoted; of the relation called as the second argument says. -#}
{% macro quoted(columns, of='') -%}
    {%- for column in columns -%}
        {{ of ~ '.' if of }}{{ adapter.quote(column) }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
