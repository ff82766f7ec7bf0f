with state as (
    select * from {{ source('datastream', 'haul_cycle') }}
)

select
    cycle_id,
    truck_id,
    loader_id,
    shift_id,
    source_block,
    dump_id,
    material,
    started_at,
    ended_at,
    queue_load_s,
    spot_s,
    load_s,
    haul_s,
    queue_dump_s,
    dump_s,
    return_s,
    payload_t,
    dist_loaded_m,
    dist_empty_m,
    fuel_l,
    updated_at,
    _op as last_operation,
    _source_at as changed_at
from state
where not is_deleted
