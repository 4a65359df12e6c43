-- Where a picture may be set. The version rises with every change; a task remembers the one it used.
CREATE TABLE scene (
    scene_id        text PRIMARY KEY CHECK (scene_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    version         integer NOT NULL DEFAULT 1,
    scene_name      text NOT NULL,
    category        text NOT NULL CHECK (category IN ('indoor', 'outdoor', 'studio')),
    description     text NOT NULL DEFAULT '',
    prompt_template text NOT NULL DEFAULT '',
    cover_key       text,
    parameters      jsonb NOT NULL DEFAULT '{}',
    tags            text[] NOT NULL DEFAULT '{}',
    status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    display_order   integer NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);

INSERT INTO scene (scene_id, scene_name, category, description, prompt_template, tags, display_order) VALUES
    ('paris-street', '巴黎街头', 'outdoor', '雨后的巴黎街头，咖啡馆的灯光映在石板路上', 'a street in Paris after the rain, café lights on wet cobblestones, soft evening colours, candid portrait', '{巴黎,街头,夜色}', 1),
    ('studio-simple', '简约影棚', 'indoor', '干净的无缝背景和柔和的影棚光', 'a plain seamless studio backdrop, one large soft light, gentle shadow, calm portrait', '{影棚,简约,人像}', 2),
    ('beach-sunset', '海边日落', 'outdoor', '日落时分的海滩，金色的阳光与长长的影子', 'a beach at sunset, low golden sun over the sea, warm haze, long shadows, relaxed portrait', '{海边,日落,旅行}', 3);
