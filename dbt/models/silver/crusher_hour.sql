select
    crusher_id,
    hour_at,
    tph as throughput_t_h,
    weightometer_t,
    updated_at
from {{ source('production', 'crusher_hour') }}
where not is_deleted
