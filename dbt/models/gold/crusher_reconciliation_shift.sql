with shifts as (
    select shift_id, shift_on, crew, start_at, end_at, duration_h from {{ ref('shift') }}
),

weighed as (
    select
        shifts.shift_id,
        crusher_hours.crusher_id,
        count(crusher_hours.hour_at) as hours_weighed,
        sum(crusher_hours.weightometer_t) as weightometer_t
    from {{ ref('crusher_hour') }} as crusher_hours
    inner join shifts
        on crusher_hours.hour_at >= shifts.start_at
        and crusher_hours.hour_at < shifts.end_at
    group by shifts.shift_id, crusher_hours.crusher_id
),

crushers as (
    select crusher_id from weighed group by crusher_id
),

hauled as (
    select
        hauls.shift_id,
        hauls.dump_id as crusher_id,
        count(hauls.cycle_id) as cycles,
        sum(hauls.payload_t) as payload_t
    from {{ ref('haul_cycle') }} as hauls
    inner join crushers on hauls.dump_id = crushers.crusher_id
    group by hauls.shift_id, hauls.dump_id
),

lines as (
    select shift_id, crusher_id from weighed
    union distinct
    select shift_id, crusher_id from hauled
),

compared as (
    select
        lines.shift_id,
        shifts.shift_on,
        shifts.crew,
        lines.crusher_id,
        coalesce(hauled.cycles, 0) as cycles,
        cast(coalesce(hauled.payload_t, 0) as {{ type_double() }}) as payload_t,
        cast(weighed.weightometer_t as {{ type_double() }}) as weightometer_t,
        coalesce(weighed.hours_weighed, 0) as hours_weighed,
        coalesce(weighed.hours_weighed, 0) >= shifts.duration_h as is_complete
    from lines
    inner join shifts on lines.shift_id = shifts.shift_id
    left join hauled
        on lines.shift_id = hauled.shift_id
        and lines.crusher_id = hauled.crusher_id
    left join weighed
        on lines.shift_id = weighed.shift_id
        and lines.crusher_id = weighed.crusher_id
)

select
    shift_id,
    shift_on,
    crew,
    crusher_id,
    cycles,
    payload_t,
    weightometer_t,
    hours_weighed,
    is_complete,
    case when is_complete then payload_t - weightometer_t end as variance_t,
    case when is_complete then 100 * (payload_t - weightometer_t) / nullif(weightometer_t, 0) end
        as variance_pct
from compared
