with events as (
    select
        equipment_id,
        from_at,
        to_at,
        lead(from_at) over (partition by equipment_id order by from_at) as next_from_at
    from {{ ref('equipment_status') }}
)

select equipment_id, from_at, to_at, next_from_at
from events
where next_from_at < to_at or to_at < from_at
