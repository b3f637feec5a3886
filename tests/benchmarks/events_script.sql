-- Landed GA4 rows to clean events, a file a day, and to sessions: what one would write for this source alone.
-- Placeholders: {landed} list of files, {out} folder.
COPY (
    WITH landed AS (
        SELECT
            concat_ws(
                ':', trim(user_pseudo_id), trim(event_timestamp), trim(event_name), trim(batch_page_id),
                trim(batch_event_index)
            ) AS source_id,
            _load_row AS load_row,
            make_timestamp(event_timestamp::BIGINT) AS occurred_at,
            nullif(trim(user_pseudo_id), '') AS anonymous_id,
            nullif(trim(user_id), '') AS user_id,
            nullif(trim("event_params.ga_session_id"), '') AS source_session_id,
            nullif(trim(event_name), '') AS event_name,
            split_part(split_part(trim("event_params.page_location"), '#', 1), '?', 1) AS page,
            nullif(trim("event_params.page_title"), '') AS page_title,
            nullif(split_part(split_part(trim("event_params.page_referrer"), '#', 1), '?', 1), '') AS referrer,
            nullif(trim("event_params.source"), '') AS utm_source,
            nullif(trim("event_params.medium"), '') AS utm_medium,
            nullif(trim("event_params.campaign"), '') AS utm_campaign,
            nullif(trim("device.category"), '') AS device_category,
            nullif(trim("device.operating_system"), '') AS operating_system,
            nullif(trim("device.web_info.browser"), '') AS browser,
            trim("geo.country") AS country_name,
            nullif(trim("geo.region"), '') AS region,
            nullif(trim("event_params.user_agent"), '') AS user_agent,
            nullif(trim("event_params.item_id"), '') AS item_id,
            nullif(trim("event_params.value"), '')::DECIMAL(18, 4) AS value_amount,
            upper(nullif(trim("event_params.currency"), '')) AS value_currency,
            json_object(
                'platform', platform, 'event_params.engagement_time_msec', "event_params.engagement_time_msec",
                'event_params.transaction_id', "event_params.transaction_id",
                'traffic_source.source', "traffic_source.source"
            )::VARCHAR AS attributes
        FROM read_parquet({landed})
        QUALIFY row_number() OVER (PARTITION BY source_id ORDER BY load_row DESC) = 1
    ),

    normalised AS (
        SELECT
            landed.* EXCLUDE (page, country_name),
            lower(split_part(page, '/', 3)) AS page_host,
            '/' || array_to_string(string_split(page, '/')[4:], '/') AS page_path,
            country.code AS country,
            regexp_matches(user_agent, '{robot}') AS is_bot,
            CAST(timezone('Asia/Shanghai', timezone('UTC', occurred_at)) AS DATE) AS event_date
        FROM landed
        LEFT JOIN (VALUES {countries}) AS country (name, code) ON landed.country_name = country.name
    )

    SELECT
        *,
        md5(concat_ws('|', {hashed})) AS row_hash
    FROM normalised
) TO '{out}/events' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (event_date));

COPY (
    WITH timed AS (
        SELECT
            *,
            coalesce(anonymous_id, user_id, source_session_id, source_id) AS visitor_id,
            lag(occurred_at) OVER (PARTITION BY visitor_id ORDER BY occurred_at) AS previous_at
        FROM read_parquet('{out}/events/*/*.parquet')
        WHERE NOT coalesce(is_bot, false)
    ),

    numbered AS (
        SELECT
            *,
            count(*) FILTER (previous_at IS NULL OR occurred_at > previous_at + INTERVAL 30 MINUTE)
                OVER (PARTITION BY visitor_id ORDER BY occurred_at) AS session_number
        FROM timed
    )

    SELECT
        visitor_id,
        min(occurred_at) AS started_at,
        max(occurred_at) AS ended_at,
        count(*) AS n_events,
        count(*) FILTER (event_name IN ('page_view', 'pageview', 'screen_view')) AS n_page_views,
        bool_or(event_name IN ('purchase', 'order_completed')) AS has_purchase,
        arg_min(page_path, occurred_at) AS entry_page_path,
        arg_max(page_path, occurred_at) AS exit_page_path,
        arg_min(utm_source, occurred_at) AS utm_source,
        arg_min(utm_medium, occurred_at) AS utm_medium,
        arg_min(utm_campaign, occurred_at) AS utm_campaign,
        arg_min(device_category, occurred_at) AS device_category,
        arg_min(country, occurred_at) AS country
    FROM numbered
    GROUP BY visitor_id, session_number
) TO '{out}/sessions.parquet' (FORMAT parquet, COMPRESSION zstd);
