-- Who may be urgent: a Task says that its sender may not.

alter table submission add column is_urgency_refused boolean not null default false;
