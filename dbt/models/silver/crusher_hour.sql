with crusher_hours as (
    select * from {{ source('production', 'crusher_hour') }}
)

select
    crusher_id,
    hour_at,
    tph as throughput_t_h,
    weightometer_t,
    updated_at
from crusher_hours
