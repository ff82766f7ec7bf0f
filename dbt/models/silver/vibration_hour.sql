select
    sensor_id,
    sector_id,
    hour_at,
    readings,
    expected_readings,
    completeness,
    rms_mm_s,
    ppv_mm_s,
    peak_pvs_mm_s,
    revision
from {{ source('geophones', 'vibration_hour') }}
