-- Retention: pixels go by days, the ledger by years, and what is held by order stays.

alter table image add column source_purged_at timestamptz;      -- its pixels were let go, or are about to be
alter table image add column prepared_purged_at timestamptz;
alter table image add column sent_again_at timestamptz;         -- the same bytes came again
alter table delivery add column pages_purged_at timestamptz;

create index image_by_prepared on image ((prepared ->> 'sha256'));
create index image_with_source on image (since, id)
    where state in ('answered', 'rejected', 'cancelled') and source_purged_at is null;
create index image_with_prepared on image (since, id)
    where state in ('answered', 'rejected', 'cancelled') and prepared is not null and prepared_purged_at is null;
create index delivery_with_pages on delivery (since, id)
    where state in ('confirmed', 'superseded') and pages_purged_at is null;
create index study_by_age on study (opened_at, id);
create index delivery_by_report on delivery (report_id);
create index delivery_by_remote on delivery (remote_id) where remote_id is not null;
create index acquisition_by_imaging_study on acquisition (imaging_study);
create index resource_part_of on resource using gin ((content -> 'partOf') jsonb_path_ops)
    where kind = 'Media' and is_newest;

create table legal_hold (
    id       bigint      generated always as identity primary key,
    study_id uuid        not null references study,
    at       timestamptz not null,
    who      text        not null,
    why      text        not null,                      -- free text; never logged
    ended_at timestamptz,
    ended_by text
);
create unique index legal_hold_standing on legal_hold (study_id) where ended_at is null;
create index legal_hold_by_study on legal_hold (study_id);

create table discard (                                  -- files that go, and for a day those that went
    id      bigint      generated always as identity primary key,
    sha256  text        not null,
    kept    text        not null,                       -- what it was
    done_at timestamptz
);
create index discard_by_digest on discard (sha256);
create index discard_to_do on discard (id) where done_at is null;
create index discard_done on discard (done_at) where done_at is not null;
