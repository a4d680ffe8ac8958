-- How urgent a study is, noted on each row of its own so that nobody looks it up, and the place of what waits; who sent
-- it; and what is known of the credits. Code before this adds routine rows of nobody at the first place.

alter table study add column urgency text not null default 'routine'
    check (urgency in ('backfill', 'routine', 'urgent'));               -- these names sort as they are meant

alter table image add column urgency text not null default 'routine'
    check (urgency in ('backfill', 'routine', 'urgent'));
alter table image add column tenant text not null default '';           -- the caller who sent it
alter table image add column place bigint not null default 0;
create index image_next on image (urgency, place) where state in ('received', 'prepared') and due_at is null;
create index image_of_tenant on image (urgency, tenant, place) where state in ('received', 'prepared');
create index image_held on image (urgency, place)                       -- waits for credits
    where state = 'prepared' and reason in ('analyser-credits-exhausted', 'analyser-credits-reserved')
      and due_at is not null;
create index image_let_go on image (id)                                 -- does not any more, and is not sent yet
    where state = 'prepared' and reason in ('analyser-credits-exhausted', 'analyser-credits-reserved')
      and due_at is null;
create index image_polled on image (urgency, due_at) where state = 'analysing' and job_status is null;
drop index image_due;                                                   -- the one above serves in its place

alter table acquisition add column urgency text not null default 'routine'
    check (urgency in ('backfill', 'routine', 'urgent'));
alter table acquisition add column tenant text not null default '';
alter table acquisition add column place bigint not null default 0;
create index acquisition_next on acquisition (urgency, place) where state = 'due' and due_at is null;
create index acquisition_of_tenant on acquisition (urgency, tenant, place) where state = 'due';

alter table account add column exhausted_at timestamptz;                -- when the analyser last said that none are left

create table credits_spent (                                            -- uploads that were confirmed, by hour
    hour   timestamptz primary key,
    number integer     not null
) with (fillfactor = 50);
