with cycles as (
    select sum(payload_t) as payload_t
    from {{ ref('haul_cycle') }}
    where shift_on is not null
),

shifts as (
    select sum(moved_t) as moved_t from {{ ref('tonnes_vs_plan_shift') }}
)

select cycles.payload_t, shifts.moved_t
from cycles
cross join shifts
where abs(coalesce(cycles.payload_t, 0) - coalesce(shifts.moved_t, 0)) > 0.01
