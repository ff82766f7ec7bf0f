with shifts as (
    select shift_id, shift_on, crew, end_at, duration_h from {{ ref('shift') }}
),

moved as (
    select
        shift_id,
        pit,
        material,
        count(cycle_id) as cycles,
        sum(payload_t) as moved_t
    from {{ ref('haul_cycle') }}
    group by shift_id, pit, material
),

planned as (
    select
        shifts.shift_id,
        plans.pit,
        plans.material,
        cast(plans.planned_t as {{ type_double() }}) * shifts.duration_h / 24 as planned_t
    from shifts
    inner join {{ ref('plan') }} as plans on shifts.shift_on = plans.plan_on
),

lines as (
    select shift_id, pit, material from moved
    union distinct
    select shift_id, pit, material from planned
),

reported as (
    select max(ended_at) as reported_until_at from {{ ref('haul_cycle') }}
),

compared as (
    select
        lines.shift_id,
        shifts.shift_on,
        shifts.crew,
        lines.pit,
        lines.material,
        coalesce(moved.cycles, 0) as cycles,
        cast(coalesce(moved.moved_t, 0) as {{ type_double() }}) as moved_t,
        planned.planned_t,
        coalesce(shifts.end_at <= reported.reported_until_at, false) as is_shift_over
    from lines
    inner join shifts on lines.shift_id = shifts.shift_id
    left join moved
        on lines.shift_id = moved.shift_id
        and lines.pit = moved.pit
        and lines.material = moved.material
    left join planned
        on lines.shift_id = planned.shift_id
        and lines.pit = planned.pit
        and lines.material = planned.material
    cross join reported
)

select
    shift_id,
    shift_on,
    crew,
    pit,
    material,
    cycles,
    moved_t,
    planned_t,
    moved_t - planned_t as variance_t,
    100 * (moved_t - planned_t) / nullif(planned_t, 0) as variance_pct,
    is_shift_over
from compared
