{#- Microseconds from 1970 to an instant, a whole number. -#}
{% macro epoch_us(instant) -%}
    {{ adapter.dispatch('epoch_us')(instant) }}
{%- endmacro %}

{% macro duckdb__epoch_us(instant) -%}
    epoch_us({{ instant }})
{%- endmacro %}

{% macro bigquery__epoch_us(instant) -%}
    unix_micros({{ instant }})
{%- endmacro %}
