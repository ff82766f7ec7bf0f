select
    equipment_id,
    class as equipment_class,
    model as equipment_model,
    sap_equnr,
    rated_payload_t,
    commissioned_on,
    is_active,
    updated_at
from {{ source('production', 'equipment') }}
