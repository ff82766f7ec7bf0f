{% macro hours_between(begin, end) -%}
    ({{ epoch_us(end) }} - {{ epoch_us(begin) }}) / 3.6e9
{%- endmacro %}
