-- Where the trace of a photograph goes on, as W3C's `traceparent`; empty when nothing is traced.

alter table image add column trace text not null default '';
alter table acquisition add column trace text not null default '';
alter table delivery add column traces jsonb not null default '[]';     -- of the images that it tells of
