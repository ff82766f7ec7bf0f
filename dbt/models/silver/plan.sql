select
    plan_on,
    pit,
    material,
    tonnes_t as planned_t,
    cu_pct as planned_cu_pct,
    cast(tonnes_t as {{ type_double() }}) * cast(cu_pct as {{ type_double() }}) / 100 as planned_cu_t,
    updated_at
from {{ source('production', 'plan') }}
