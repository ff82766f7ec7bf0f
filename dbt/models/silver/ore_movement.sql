with movements as (
    select
        movement_id,
        shift_id,
        from_id,
        to_id,
        material,
        tonnes_wet_t,
        moisture_pct,
        cu_pct,
        moved_at,
        updated_at,
        cast(tonnes_wet_t as {{ type_double() }}) * (1 - cast(moisture_pct as {{ type_double() }}) / 100) as dry_t
    from {{ source('production', 'ore_movement') }}
),

shifts as (
    select shift_id, shift_on from {{ ref('shift') }}
)

select
    movements.movement_id,
    movements.shift_id,
    shifts.shift_on,
    movements.from_id,
    movements.to_id,
    movements.material,
    movements.tonnes_wet_t as wet_t,
    movements.moisture_pct,
    movements.dry_t,
    movements.cu_pct,
    movements.dry_t * cast(movements.cu_pct as {{ type_double() }}) / 100 as cu_t,
    movements.moved_at,
    movements.updated_at
from movements
left join shifts on movements.shift_id = shifts.shift_id
