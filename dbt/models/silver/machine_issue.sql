with applied as (
    select
        issue_id,
        equipment_id,
        severity,
        category,
        status,
        device_at,
        row_number() over (partition by issue_id order by place desc) as from_last
    from {{ ref('machine_issue_event') }}
    where is_applied
),

told as (
    select
        issue_id,
        min(case when is_applied then device_at end) as opened_at,
        max(case when is_applied and status = 'resolved' then device_at end) as resolved_at,
        max(sap_qmnum) as sap_qmnum,
        max(received_at) as received_at,
        count(event_id) as events,
        count(case when not is_applied then 1 end) as illegal_events,
        cast(sum(messages) as {{ dbt.type_int() }}) as messages
    from {{ ref('machine_issue_event') }}
    group by issue_id
)

select
    told.issue_id,
    applied.equipment_id,
    applied.severity,
    applied.category,
    applied.status,
    applied.status not in ('resolved', 'closed', 'cancelled') as is_open,
    told.opened_at,
    applied.device_at as changed_at,
    case when applied.status in ('resolved', 'closed') then told.resolved_at end as resolved_at,
    told.received_at,
    told.sap_qmnum,
    told.events,
    told.illegal_events,
    told.messages
from told
inner join applied on told.issue_id = applied.issue_id and applied.from_last = 1
