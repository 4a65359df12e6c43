-- Links that are sent by mail. What is in the link is computed from `ref` and a secret when the mail is written: nothing here opens anything.
CREATE TABLE mail_link (
    ref          uuid PRIMARY KEY,
    user_id      uuid NOT NULL,
    purpose      text NOT NULL CHECK (purpose IN ('password_reset', 'email_verification')),
    email_hash   bytea NOT NULL,
    lang         text NOT NULL CHECK (lang IN ('zh', 'en')),
    requested_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz,
    UNIQUE (user_id, purpose)
);
CREATE INDEX mail_link_by_expiry ON mail_link (expires_at);

-- Somebody asks for a new password for an address; whether anybody has it is looked up aside, so the answer says nothing.
CREATE TABLE reset_request (
    request_id   uuid PRIMARY KEY,
    email_hash   bytea NOT NULL,
    lang         text NOT NULL,
    requested_at timestamptz NOT NULL
);

-- Wrong guesses by what they were aimed at and where they came from (keyed hashes), and from where somebody did log in.
CREATE TABLE login_guess (
    key_hash bytea PRIMARY KEY,
    guesses  integer NOT NULL,
    last_at  timestamptz NOT NULL
);
CREATE INDEX login_guess_by_age ON login_guess (last_at);
CREATE TABLE login_place (
    key_hash bytea PRIMARY KEY,
    seen_at  timestamptz NOT NULL
);
CREATE INDEX login_place_by_age ON login_place (seen_at);
