with identified as (
    select
        sales_order.*,
        person_record.person_id,
        coalesce(sales_order.status = 'cancelled', false) as is_cancelled
    from {{ ref('stg_sales_order') }} as sales_order
    left join {{ ref('stg_person_record') }} as person_record
        on
            sales_order.source = person_record.source
            and sales_order.source_id = person_record.source_id
            and person_record.record_table = 'sales_order'
)

select
    {{ surrogate_key(['source', 'source_id']) }} as order_key,
    source,
    source_id,
    load_id,
    load_row,
    person_id,
    ordered_at,
    delivered_at,
    status,
    channel,
    order_amount,
    order_currency,
    item_count,
    is_cancelled,
    case
        when person_id is not null and not is_cancelled
            then row_number() over (partition by person_id, is_cancelled order by ordered_at, source, source_id)
    end as order_sequence
from identified
