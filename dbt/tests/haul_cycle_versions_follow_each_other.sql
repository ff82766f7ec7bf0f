with versions as (
    select
        cycle_id,
        valid_from_at,
        valid_to_at,
        lead(valid_from_at) over (partition by cycle_id order by valid_from_at) as next_from_at
    from {{ ref('haul_cycle_history') }}
)

select cycle_id, valid_from_at, valid_to_at, next_from_at
from versions
where
    valid_to_at <= valid_from_at
    or valid_to_at <> next_from_at
    or (valid_to_at is null) <> (next_from_at is null)
