with cycles as (
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
        queue_load_s + spot_s + load_s + haul_s + queue_dump_s + dump_s + return_s as parts_s,
        ({{ epoch_us('ended_at') }} - {{ epoch_us('started_at') }}) / 1e6 as duration_s
    from {{ source('production', 'haul_cycle') }}
    where not is_deleted
),

shifts as (
    select shift_id, shift_on, crew from {{ ref('shift') }}
),

trucks as (
    select equipment_id, equipment_class, equipment_model, rated_payload_t
    from {{ ref('equipment') }}
)

select
    cycles.cycle_id,
    cycles.truck_id,
    trucks.equipment_class as truck_class,
    trucks.equipment_model as truck_model,
    cycles.loader_id,
    cycles.shift_id,
    shifts.shift_on,
    shifts.crew,
    cycles.source_block,
    case {{ dbt.split_part('cycles.source_block', "'-'", 1) | trim }}
        when 'N' then 'north'
        when 'S' then 'south'
        else 'unknown'
    end as pit,
    nullif({{ dbt.split_part('cycles.source_block', "'-'", 2) | trim }}, '') as bench,
    cycles.dump_id,
    cycles.material,
    cycles.started_at,
    cycles.ended_at,
    cycles.duration_s,
    cycles.queue_load_s,
    cycles.spot_s,
    cycles.load_s,
    cycles.haul_s,
    cycles.queue_dump_s,
    cycles.dump_s,
    cycles.return_s,
    cycles.parts_s,
    abs(cycles.duration_s - cycles.parts_s) <= 1 as has_consistent_duration,
    cycles.payload_t,
    trucks.rated_payload_t,
    cast(cycles.payload_t as {{ type_double() }}) / nullif(cast(trucks.rated_payload_t as {{ type_double() }}), 0)
        as payload_ratio,
    cycles.dist_loaded_m,
    cycles.dist_empty_m,
    cycles.fuel_l,
    cycles.updated_at
from cycles
left join shifts on cycles.shift_id = shifts.shift_id
left join trucks on cycles.truck_id = trucks.equipment_id
