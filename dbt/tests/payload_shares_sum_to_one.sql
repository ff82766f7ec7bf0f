select shift_id, truck_class, truck_model
from {{ ref('payload_compliance') }}
where
    abs(under_95_share + within_95_110_share + over_110_share - 1) > 1e-9
    or over_120_share > over_110_share
