with shares as (
    select under_95_share as share from {{ ref('payload_compliance') }}
    union all
    select within_95_110_share from {{ ref('payload_compliance') }}
    union all
    select over_110_share from {{ ref('payload_compliance') }}
    union all
    select over_120_share from {{ ref('payload_compliance') }}
    union all
    select physical_availability from {{ ref('equipment_availability_day') }}
    union all
    select use_of_availability from {{ ref('equipment_availability_day') }}
    union all
    select operating_utilisation from {{ ref('equipment_availability_day') }}
    union all
    select completeness from {{ ref('vibration_sector_hour') }}
)

select share
from shares
where share < 0 or share > 1 + 1e-9
