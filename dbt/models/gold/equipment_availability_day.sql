with events as (
    select
        equipment_id,
        tum_code,
        {{ utc('from_at') }} as from_utc,
        {{ utc('to_at') }} as to_utc
    from {{ ref('equipment_status') }}
),

equipment as (
    select equipment_id, equipment_class, equipment_model, is_active
    from {{ ref('equipment') }}
),

known as (
    select max(to_utc) as until_utc from events
),

lives as (
    select
        events.equipment_id,
        min(events.from_utc) as from_utc,
        case
            when {{ dbt.bool_or('equipment.is_active') | trim }} then max(known.until_utc)
            else max(events.to_utc)
        end as to_utc
    from events
    left join equipment on events.equipment_id = equipment.equipment_id
    cross join known
    group by events.equipment_id
),

life_days as (
    select
        equipment_id,
        from_utc,
        to_utc,
        day_utc
    from lives
    cross join {{ utc_days('from_utc', 'to_utc') }}
),

scheduled as (
    select
        equipment_id,
        cast(day_utc as date) as day_on,
        {{ hours_between('greatest(from_utc, day_utc)', 'least(to_utc, day_utc + interval 1 day)') }}
            as scheduled_h
    from life_days
    where to_utc > day_utc
),

event_days as (
    select
        equipment_id,
        tum_code,
        from_utc,
        to_utc,
        day_utc
    from events
    cross join {{ utc_days('from_utc', 'to_utc') }}
),

pieces as (
    select
        equipment_id,
        tum_code,
        cast(day_utc as date) as day_on,
        {{ hours_between('greatest(from_utc, day_utc)', 'least(to_utc, day_utc + interval 1 day)') }}
            as piece_h
    from event_days
    where to_utc > day_utc
),

spent as (
    select
        equipment_id,
        day_on,
        sum(case when tum_code = 'operating' then piece_h else 0 end) as operating_h,
        sum(case when tum_code = 'delay' then piece_h else 0 end) as delay_h,
        sum(case when tum_code = 'standby' then piece_h else 0 end) as standby_h,
        sum(case when tum_code = 'planned_down' then piece_h else 0 end) as planned_down_h,
        sum(case when tum_code = 'unplanned_down' then piece_h else 0 end) as unplanned_down_h
    from pieces
    group by equipment_id, day_on
),

days as (
    select
        scheduled.equipment_id,
        scheduled.day_on,
        equipment.equipment_class,
        equipment.equipment_model,
        scheduled.scheduled_h,
        coalesce(spent.operating_h, 0) as operating_h,
        coalesce(spent.delay_h, 0) as delay_h,
        coalesce(spent.standby_h, 0) as standby_h,
        coalesce(spent.planned_down_h, 0) as planned_down_h,
        coalesce(spent.unplanned_down_h, 0) as unplanned_down_h
    from scheduled
    left join spent
        on scheduled.equipment_id = spent.equipment_id
        and scheduled.day_on = spent.day_on
    left join equipment on scheduled.equipment_id = equipment.equipment_id
)

select
    equipment_id,
    day_on,
    equipment_class,
    equipment_model,
    scheduled_h,
    operating_h + delay_h + standby_h as available_h,
    operating_h,
    delay_h,
    standby_h,
    planned_down_h,
    unplanned_down_h,
    (operating_h + delay_h + standby_h) / nullif(scheduled_h, 0) as physical_availability,
    operating_h / nullif(operating_h + delay_h + standby_h, 0) as use_of_availability,
    operating_h / nullif(scheduled_h, 0) as operating_utilisation
from days
