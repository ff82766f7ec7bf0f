select
    shift_id,
    crew,
    cast(start_at at time zone 'UTC' as date) as shift_on,
    start_at,
    end_at,
    {{ hours_between('start_at', 'end_at') }} as duration_h,
    updated_at
from {{ source('production', 'shift') }}
