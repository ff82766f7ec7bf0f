{{ config(severity='warn') }}

with intervals as (
    select
        hole_id,
        from_m,
        to_m,
        lead(from_m) over (partition by hole_id order by from_m, to_m) as next_from_m
    from {{ ref('rock_quality') }}
)

select hole_id, from_m, to_m, next_from_m
from intervals
where next_from_m < to_m or to_m <= from_m
