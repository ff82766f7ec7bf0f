with latest as (
    select
        hole_id,
        from_m,
        to_m,
        sector_id,
        lithology,
        rqd_pct,
        ucs_mpa,
        is50_mpa,
        jn,
        jr,
        ja,
        jw,
        srf,
        q,
        rmr89,
        gsi,
        lab,
        analysed_at,
        schema_version
    from {{ source('lab', 'rock_quality') }}
    qualify row_number() over (
        partition by hole_id, from_m
        order by analysed_at desc, schema_version desc, sample_no desc, _batch_id desc
    ) = 1
),

recomputed as (
    select
        hole_id,
        from_m,
        to_m,
        sector_id,
        lithology,
        rqd_pct,
        ucs_mpa,
        is50_mpa,
        jn,
        jr,
        ja,
        jw,
        srf,
        q,
        rmr89,
        gsi,
        lab,
        analysed_at,
        schema_version,
        cast(rqd_pct as {{ type_double() }}) / nullif(jn, 0)
        * jr / nullif(ja, 0)
        * jw / nullif(srf, 0) as q_recomputed
    from latest
)

select
    hole_id,
    from_m,
    to_m,
    to_m - from_m as length_m,
    sector_id,
    lithology,
    rqd_pct,
    ucs_mpa,
    is50_mpa,
    jn,
    jr,
    ja,
    jw,
    srf,
    q,
    q_recomputed,
    abs(q - q_recomputed) <= 0.05 * abs(q_recomputed) as has_consistent_q,
    rmr89,
    case
        when rmr89 > 80 then 'I'
        when rmr89 > 60 then 'II'
        when rmr89 > 40 then 'III'
        when rmr89 > 20 then 'IV'
        when rmr89 is not null then 'V'
    end as rmr_class,
    gsi,
    lab,
    analysed_at,
    schema_version
from recomputed
