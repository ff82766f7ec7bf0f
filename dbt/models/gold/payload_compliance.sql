with weighed as (
    select
        cycle_id,
        shift_id,
        shift_on,
        crew,
        truck_class,
        truck_model,
        rated_payload_t,
        payload_t,
        payload_ratio
    from {{ ref('haul_cycle') }}
    where payload_ratio is not null and shift_on is not null
)

select
    shift_id,
    shift_on,
    crew,
    truck_class,
    truck_model,
    max(rated_payload_t) as rated_payload_t,
    count(cycle_id) as cycles,
    cast(sum(payload_t) as {{ type_double() }}) / count(payload_t) as mean_payload_t,
    avg(payload_ratio) as mean_payload_ratio,
    max(payload_ratio) as max_payload_ratio,
    avg(case when payload_ratio < 0.95 then 1.0 else 0.0 end) as under_95_share,
    avg(case when payload_ratio between 0.95 and 1.10 then 1.0 else 0.0 end) as within_95_110_share,
    avg(case when payload_ratio > 1.10 then 1.0 else 0.0 end) as over_110_share,
    avg(case when payload_ratio > 1.20 then 1.0 else 0.0 end) as over_120_share
from weighed
group by shift_id, shift_on, crew, truck_class, truck_model
