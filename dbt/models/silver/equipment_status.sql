with events as (
    select
        equipment_id,
        from_at,
        to_at,
        tum_code,
        reason,
        updated_at,
        lead(from_at) over (partition by equipment_id order by from_at) as next_from_at
    from {{ source('production', 'status_event') }}
    where not is_deleted
),

known as (
    select max(greatest(from_at, coalesce(to_at, from_at), updated_at)) as known_until_at from events
),

closed as (
    select
        events.equipment_id,
        events.from_at,
        coalesce(events.to_at, events.next_from_at, known.known_until_at) as to_at,
        events.to_at is null and events.next_from_at is null as is_open,
        events.tum_code,
        events.reason,
        events.updated_at
    from events
    cross join known
)

select
    equipment_id,
    from_at,
    to_at,
    {{ hours_between('from_at', 'to_at') }} as duration_h,
    is_open,
    tum_code,
    tum_code in ('operating', 'delay', 'standby') as is_available,
    tum_code = 'operating' as is_operating,
    reason,
    updated_at
from closed
