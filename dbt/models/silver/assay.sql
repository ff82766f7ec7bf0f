select
    sample_id,
    block_id,
    lab,
    qc_type,
    qc_type <> 'sample' as is_quality_control,
    method,
    cu_pct,
    au_g_t,
    moisture_pct,
    sampled_at,
    received_at,
    received_at is not null as is_received,
    {{ hours_between('sampled_at', 'received_at') }} as turnaround_h,
    updated_at
from {{ source('production', 'assay') }}
where not is_deleted
