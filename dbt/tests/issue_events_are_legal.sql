{{ config(severity='warn') }}

select event_id, issue_id, from_status, status
from {{ ref('machine_issue_event') }}
where not is_applied
