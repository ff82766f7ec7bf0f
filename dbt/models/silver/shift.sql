select
    shift_id,
    crew,
    cast({{ utc('start_at') }} as date) as shift_on,
    start_at,
    end_at,
    {{ hours_between('start_at', 'end_at') }} as duration_h,
    updated_at
from {{ source('production', 'shift') }}
