-- Operators: how they log in, how the first one gets in, and what they did. Nothing here is ever changed by clients.
CREATE TABLE admin_credential (
    user_id       uuid PRIMARY KEY REFERENCES person DEFERRABLE INITIALLY DEFERRED,
    name          text NOT NULL UNIQUE CHECK (name = lower(name)),
    password_hash text NOT NULL,
    changed_at    timestamptz NOT NULL
);

CREATE TABLE admin_invitation (
    token_hash bytea PRIMARY KEY,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);

CREATE TABLE admin_action (
    action_id uuid PRIMARY KEY,
    admin_id  uuid NOT NULL,
    user_id   uuid NOT NULL,
    before    text NOT NULL,
    after     text NOT NULL,
    reason    text NOT NULL,
    acted_at  timestamptz NOT NULL
);
CREATE INDEX admin_action_of_user ON admin_action (user_id, acted_at);

-- Who came through WeChat. openid_hash finds the row (keyed hash), openid_sealed gives the openid back to who has the key.
CREATE TABLE wechat_identity (
    user_id       uuid PRIMARY KEY REFERENCES person DEFERRABLE INITIALLY DEFERRED,
    openid_hash   bytea NOT NULL UNIQUE,
    openid_sealed bytea NOT NULL,
    phone_sealed  bytea,
    sealed_with   text NOT NULL,
    created_at    timestamptz NOT NULL
);

ALTER TABLE person ADD COLUMN avatar_link text, ADD COLUMN seen_at timestamptz;
CREATE INDEX person_by_age ON person (created_at DESC, user_id DESC);
CREATE INDEX person_seen ON person (seen_at) WHERE seen_at IS NOT NULL;

DO $$ BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE ON admin_action FROM %I', current_setting('darkroom.service_role'));
END $$;
