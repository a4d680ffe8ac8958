-- The first tables. All ours live in schema `relay`; the engine's live in schema `engine`.

create table resource (
    kind        text        not null,                   -- FHIR resource type
    id          text        not null,
    version     integer     not null,
    position    bigint      generated always as identity unique,    -- order of writing; what a page ends and begins at
    updated     timestamptz not null,
    is_newest   boolean     not null default true,
    content     jsonb       not null,                   -- complete but for versionId and lastUpdated; pixel-free
    primary key (kind, id, version)
);
create unique index resource_newest on resource (kind, id) where is_newest;
create index resource_by_position on resource (kind, position) where is_newest;
create index resource_by_time on resource (kind, updated) where is_newest;

create table resource_index (                           -- search values of the newest version
    kind        text        not null,
    id          text        not null,
    parameter   text        not null,
    system      text,                                   -- of a token, or the base of a foreign reference; may be null
    value       text        not null                    -- code, or `Type/id` of a reference
);
create index resource_index_by_value on resource_index (kind, parameter, value, system);
create index resource_index_by_system on resource_index (kind, parameter, system) where system is not null;
create index resource_index_by_resource on resource_index (kind, id, parameter);

create table study (
    id          uuid        primary key,
    key         text        not null unique,            -- a digest, no patient data
    subject     jsonb       not null,
    context     jsonb       not null,
    state       text        not null check (state in ('collecting', 'reported')),
    revision    integer     not null default 0,
    fingerprint text        not null default '',
    opened_at   timestamptz not null default now()
);

create table image (
    id              uuid        primary key,
    study_id        uuid        not null references study,
    arrival         bigint      generated always as identity,
    media_id        text        not null,
    source          jsonb       not null,               -- StoredPicture
    source_sha256   text        not null,
    laterality      text        check (laterality in ('R', 'L')),
    captured        text,
    state           text        not null check (state in ('received', 'prepared', 'sending', 'analysing', 'answered',
                                                          'rejected', 'parked', 'cancelled')),
    since           timestamptz not null,
    due_at          timestamptz,
    reason          text,
    attempt         integer     not null default 0,
    resends         integer     not null default 0,
    prepared        jsonb,                              -- PreparedPicture
    credit_mark     jsonb,                              -- CreditMark
    job_id          text,
    job_status      text,
    analysing_since timestamptz,
    analysis        jsonb,
    answered_at     timestamptz,
    is_standin      boolean     not null default false,
    unique (study_id, source_sha256)
);
create index image_due on image (due_at) where state = 'analysing' and job_status is null;
create index image_ready on image (due_at)              -- what the engine could go on with; the rest is polled
    where state in ('received', 'prepared', 'sending') or (state = 'analysing' and job_status is not null);
create index image_sending on image (id) where state = 'sending';
create index image_by_state on image (state);
create index image_by_source on image (source_sha256);
create index image_parked on image (reason) where state = 'parked';

create table submission (
    id          uuid        primary key,                -- also the id of its Task
    study_id    uuid        not null references study,
    accepted_at timestamptz not null,
    image_media json        not null                    -- image id → Media id, as they were sent
);
create index submission_by_study on submission (study_id);

create table delivery (
    id             uuid        primary key,
    study_id       uuid        not null references study,
    revision       integer     not null,
    destination    text        not null,
    state          text        not null check (state in ('due', 'writing', 'confirmed', 'parked', 'superseded')),
    resources      jsonb       not null,
    report_id      text        not null,
    since          timestamptz not null,
    due_at         timestamptz,
    reason         text,
    attempt        integer     not null default 0,
    first_tried_at timestamptz,
    remote_id      text,
    unique (study_id, revision, destination)
);
create index delivery_ready on delivery (due_at) where state in ('due', 'writing');
create index delivery_by_state on delivery (state);
create index delivery_parked on delivery (reason) where state = 'parked';

create table study_look (                               -- a study has to look at its images again
    id         bigint      generated always as identity primary key,
    study_id   uuid        not null references study,
    at         timestamptz not null default now()
);
create index study_look_by_study on study_look (study_id);

create table transition (                               -- the journal: what moved when, and why
    id         bigint      generated always as identity primary key,
    at         timestamptz not null,
    subject    text        not null check (subject in ('image', 'study', 'delivery')),
    subject_id uuid        not null,
    from_state text,
    to_state   text        not null,
    reason     text
);
create index transition_by_subject on transition (subject_id, id);

create table account (                                  -- the analyser's account; one row
    name                  text        primary key default 'analyser',
    token                 text,
    token_valid_until     timestamptz,
    remaining             integer,
    remaining_at          timestamptz,
    confirmed             bigint      not null default 0,
    possibly_double_spent integer     not null default 0
);
insert into account default values;
