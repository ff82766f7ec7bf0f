{%- set hour_us = 3600 * 1000 * 1000 -%}

with sensor_hours as (
    select
        sensor_id,
        sector_id,
        hour_at,
        readings,
        expected_readings,
        rms_mm_s,
        ppv_mm_s,
        peak_pvs_mm_s,
        revision
    from {{ ref('vibration_hour') }}
),

hours as (
    select hour_at from sensor_hours group by hour_at
),

sensors as (
    select
        sensor_id,
        sector_id,
        min(hour_at) as first_hour_at,
        max(hour_at) as last_hour_at,
        max(expected_readings) as expected_readings
    from sensor_hours
    group by sensor_id, sector_id
),

expected as (
    select
        sensors.sector_id,
        hours.hour_at,
        count(sensors.sensor_id) as sensors_expected,
        cast(sum(sensors.expected_readings) as int64) as expected_readings
    from sensors
    inner join hours
        on hours.hour_at between sensors.first_hour_at
        and sensors.last_hour_at + interval {{ var('vibration_silence_days') }} day
    group by sensors.sector_id, hours.hour_at
),

reported as (
    select
        sector_id,
        hour_at,
        count(sensor_id) as sensors,
        cast(sum(readings) as int64) as readings,
        cast(sum(least(readings, expected_readings)) as int64) as counted_readings,
        sqrt(avg(rms_mm_s * rms_mm_s)) as rms_mm_s,
        max(ppv_mm_s) as ppv_max_mm_s,
        max(peak_pvs_mm_s) as pvs_max_mm_s,
        max(revision) as revision
    from sensor_hours
    group by sector_id, hour_at
),

sector_hours as (
    select
        expected.sector_id,
        expected.hour_at,
        expected.sensors_expected,
        coalesce(reported.sensors, 0) as sensors,
        expected.expected_readings,
        coalesce(reported.readings, 0) as readings,
        coalesce(reported.counted_readings, 0) / nullif(expected.expected_readings, 0)
            as completeness,
        reported.rms_mm_s,
        reported.ppv_max_mm_s,
        reported.pvs_max_mm_s,
        reported.revision
    from expected
    left join reported
        on expected.sector_id = reported.sector_id
        and expected.hour_at = reported.hour_at
),

judged as (
    select
        sector_id,
        hour_at,
        sensors_expected,
        sensors,
        expected_readings,
        readings,
        completeness,
        rms_mm_s,
        ppv_max_mm_s,
        pvs_max_mm_s,
        revision,
        case when completeness >= {{ var('vibration_completeness_min') }} then rms_mm_s end
            as complete_rms_mm_s
    from sector_hours
),

compared as (
    select
        sector_id,
        hour_at,
        sensors_expected,
        sensors,
        expected_readings,
        readings,
        completeness,
        rms_mm_s,
        ppv_max_mm_s,
        pvs_max_mm_s,
        revision,
        complete_rms_mm_s,
        {{ values_over('complete_rms_mm_s', 'past') }} as baseline_values,
        count(complete_rms_mm_s) over past as baseline_hours
    from judged
    window past as (
        partition by sector_id
        order by {{ epoch_us('hour_at') }}
        range between {{ 30 * 24 * hour_us }} preceding and {{ hour_us }} preceding
    )
),

baselines as (
    select
        sector_id,
        hour_at,
        sensors_expected,
        sensors,
        expected_readings,
        readings,
        completeness,
        rms_mm_s,
        ppv_max_mm_s,
        pvs_max_mm_s,
        revision,
        complete_rms_mm_s,
        baseline_hours,
        {{ median_of('baseline_values') }} as baseline_rms_mm_s
    from compared
)

select
    sector_id,
    hour_at,
    sensors,
    sensors_expected,
    readings,
    expected_readings,
    completeness,
    rms_mm_s,
    ppv_max_mm_s,
    pvs_max_mm_s,
    baseline_hours,
    baseline_rms_mm_s,
    case
        when baseline_hours >= {{ var('vibration_baseline_hours_min') }}
            then complete_rms_mm_s / nullif(baseline_rms_mm_s, 0)
    end as vibration_index,
    revision
from baselines
