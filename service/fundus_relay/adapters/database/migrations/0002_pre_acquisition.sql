-- Studies whose pictures lie in an archive: what is fetched for whom, and frames of one file as images of their own.

create table acquisition (
    id            uuid        primary key,
    study_id      uuid        not null references study,
    submission_id uuid        not null,                 -- whose Task tells of it
    imaging_study text        not null,                 -- id of the ImagingStudy in `resource` that asked last
    address       text        not null,                 -- base URL of the archive
    study_uid     text        not null,
    state         text        not null check (state in ('due', 'complete', 'parked', 'rejected', 'cancelled')),
    since         timestamptz not null,
    asked_at      timestamptz not null,
    due_at        timestamptz,
    reason        text,
    attempt       integer     not null default 0,
    looked_at     timestamptz,                          -- when all that was listed had been tried once
    instances     jsonb       not null default '{}',    -- SOP Instance UID → null once fetched, or why not
    unique (study_id, address, study_uid)
);
create index acquisition_ready on acquisition (due_at) where state = 'due';
create index acquisition_by_state on acquisition (state);

alter table submission add column imaging_studies jsonb not null default '[]';  -- ids of those that asked for it

alter table image add column source_frame integer not null default 1;   -- of a file with several, from 1
alter table image add column instance jsonb;                            -- InstanceName
alter table image drop constraint image_study_id_source_sha256_key;
alter table image add constraint image_once unique (study_id, source_sha256, source_frame);

alter table transition drop constraint transition_subject_check;
alter table transition add constraint transition_subject_check
    check (subject in ('image', 'study', 'delivery', 'acquisition'));
