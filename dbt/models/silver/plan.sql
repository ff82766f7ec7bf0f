select
    plan_on,
    pit,
    material,
    tonnes_t as planned_t,
    cu_pct as planned_cu_pct,
    tonnes_t * cu_pct / 100 as planned_cu_t,
    updated_at
from {{ source('production', 'plan') }}
