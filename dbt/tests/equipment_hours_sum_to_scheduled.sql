select equipment_id, day_on, scheduled_h
from {{ ref('equipment_availability_day') }}
where
    abs(
        operating_h + delay_h + standby_h + planned_down_h + unplanned_down_h - scheduled_h
    ) > 0.01
    or scheduled_h > 24.01
