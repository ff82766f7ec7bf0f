{#- What an issue may become, by what it is. -#}
{%- set legal = [
    'new>open', 'open>ack', 'open>in_progress', 'open>cancelled', 'ack>in_progress',
    'ack>cancelled', 'in_progress>blocked', 'in_progress>resolved', 'blocked>in_progress',
    'blocked>cancelled', 'resolved>closed', 'resolved>in_progress',
] -%}
{#- An event that may not follow what came before changes nothing: so each needs the one before. -#}
with recursive once as (
    select
        told.event_id,
        told.issue_id,
        told.equipment_id,
        told.severity,
        told.category,
        told.status,
        told.sap_qmnum,
        told.app_version,
        told.device_at,
        min(told.received_at) over (partition by told.event_id) as received_at,
        count(*) over (partition by told.event_id) as messages
    from {{ source('mobile', 'issue_event') }} as told
    qualify row_number() over (
        partition by told.event_id
        order by told.device_at, told.message, told.received_at
    ) = 1
),

numbered as (
    select
        once.*,
        row_number() over (partition by issue_id order by device_at, event_id) as place
    from once
),

folded as (
    select
        event_id,
        issue_id,
        place,
        case when place > 1 then status end as from_status,
        status = 'open' as is_applied,
        case when status = 'open' then status end as new_status
    from numbered
    where place = 1
    union all
    select
        numbered.event_id,
        numbered.issue_id,
        numbered.place,
        folded.new_status as from_status,
        concat(coalesce(folded.new_status, 'new'), '>', numbered.status)
        in ('{{ legal | join("', '") }}') as is_applied,
        case
            when concat(coalesce(folded.new_status, 'new'), '>', numbered.status)
                in ('{{ legal | join("', '") }}') then numbered.status
            else folded.new_status
        end as new_status
    from folded
    inner join numbered
        on folded.issue_id = numbered.issue_id and folded.place + 1 = numbered.place
)

select
    numbered.event_id,
    numbered.issue_id,
    numbered.place,
    numbered.equipment_id,
    numbered.severity,
    numbered.category,
    folded.from_status,
    numbered.status,
    folded.is_applied,
    folded.new_status,
    numbered.sap_qmnum,
    numbered.app_version,
    numbered.device_at,
    numbered.received_at,
    numbered.messages
from numbered
inner join folded on numbered.issue_id = folded.issue_id and numbered.place = folded.place
