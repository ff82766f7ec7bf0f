{{ config(severity='warn') }}

select sensor_id, hour_at, ppv_mm_s, peak_pvs_mm_s
from {{ ref('vibration_hour') }}
where
    peak_pvs_mm_s < ppv_mm_s - 0.001
    or peak_pvs_mm_s > sqrt(3) * ppv_mm_s + 0.001
